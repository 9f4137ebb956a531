"""Clients that do not repeat a request: what a service fails, they have lost.

A program for a guest. Every other client keeps its connection until a response says
that it closes, the rest open one for each request, as cloud-init does. It asks until
its standard input ends, or for so long, or so many times, and then prints an `Outcome`
as JSON. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import threading
import time
from dataclasses import asdict, dataclass, field

TIMEOUT = 10.0
"""Seconds without a byte, while connecting or waiting, as cloud-init has it."""
SHOWN = 5


@dataclass(slots=True)
class Outcome:
    """Requests, those that failed (a few of them in words), and how many seconds each
    of those took that did not.
    """

    asked: int = 0
    failed: int = 0
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def note(self, seconds: float, error: str) -> None:
        """One request has ended; `error` is "" for an answer of 200."""
        self.asked += 1
        if not error:
            self.seconds.append(seconds)
            return
        self.failed += 1
        if len(self.errors) < SHOWN:
            self.errors.append(f"{error} after {seconds:.3f} s")


class Clients:
    """So many at a time, each with a pause between its requests."""

    def __init__(
        self, host: str, path: str, *, count: int, pause: float, most: int
    ) -> None:
        self._host = host
        self._path = path
        self._pause = pause
        self._most = most
        self._begun = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.outcome = Outcome()
        self._threads = [
            threading.Thread(target=self._ask, args=(number % 2 == 1,))
            for number in range(count)
        ]

    def run(self, seconds: float) -> Outcome:
        """Ask until there is nothing more to read, or all is asked, or for so long."""
        for one in self._threads:
            one.start()
        if seconds:
            self._ended.wait(seconds)
            self._ended.set()
        elif not self._most:
            sys.stdin.read()
            self._ended.set()
        for one in self._threads:
            one.join()
        return self.outcome

    def _ask(self, keeps: bool) -> None:
        connection = self._connection()
        while (number := self._next()) and not self._ended.wait(self._pause):
            begun = time.monotonic()
            error = self._once(connection, f"{self._path}{number}", keeps)
            with self._lock:
                self.outcome.note(time.monotonic() - begun, error)
            if error or not keeps:
                connection.close()
        connection.close()

    def _next(self) -> int:
        """The number of the next request; 0 when there is none."""
        with self._lock:
            if self._most and self._begun >= self._most:
                return 0
            self._begun += 1
            return self._begun

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, timeout=TIMEOUT)

    @staticmethod
    def _once(connection: http.client.HTTPConnection, path: str, keeps: bool) -> str:
        """Ask once; what went wrong."""
        headers = {} if keeps else {"Connection": "close"}
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as failure:
            return f"{type(failure).__name__}: {failure}"
        return "" if response.status == http.client.OK else str(response.status)


def main() -> None:
    """Ask, then print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="169.254.169.254")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds")
    parser.add_argument("--most", type=int, default=0, help="requests in all")
    parser.add_argument("--seconds", type=float, default=0.0, help="in all")
    parser.add_argument("--path", default="/latest/meta-data/", help="and a number")
    options = parser.parse_args()
    clients = Clients(
        options.host,
        options.path,
        count=options.count,
        pause=options.pause,
        most=options.most,
    )
    print(json.dumps(asdict(clients.run(options.seconds))))  # noqa: T201 its output


if __name__ == "__main__":
    main()
