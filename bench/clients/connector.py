"""Opens TCP connections for some seconds, so many at a time; a process of its own.

A connection counts when the handshake is done; it is then reset, so that neither side
keeps it. Prints one line of JSON: connections, errors, CPU seconds, and times in µs.
"""

from __future__ import annotations

import argparse
import errno
import json
import select
import socket
import struct
from time import perf_counter, process_time

from bench.report.figures import percentile

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: close() sends a reset."""
GRACE = 3.5
"""Seconds that the last ones may take: two retransmissions of the opening packet."""


class Connector:
    """Keeps `width` connects under way."""

    def __init__(self, where: tuple[str, int], width: int) -> None:
        self._where = where
        self._width = width
        self._poll = select.epoll()
        self._waiting: dict[int, tuple[socket.socket, float]] = {}
        self.times: list[float] = []
        self.errors = 0

    def run(self, seconds: float) -> float:
        """Connect for so long; the time it really took."""
        began = perf_counter()
        end = began + seconds
        for _ in range(self._width):
            self._begin()
        while perf_counter() < end:
            for descriptor, _ in self._poll.poll(end - perf_counter() + 0.001):
                self._finish(descriptor)
                self._begin()
        took = perf_counter() - began
        self._drain(end + GRACE)
        return took

    def _begin(self) -> None:
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        began = perf_counter()
        code = client.connect_ex(self._where)
        if code not in (0, errno.EINPROGRESS):
            self.errors += 1
            client.close()
            return
        self._waiting[client.fileno()] = (client, began)
        self._poll.register(client.fileno(), select.EPOLLOUT)

    def _finish(self, descriptor: int) -> None:
        now = perf_counter()
        client, began = self._waiting.pop(descriptor)
        if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.errors += 1
        else:
            self.times.append(now - began)
        client.close()

    def _drain(self, deadline: float) -> None:
        while self._waiting and perf_counter() < deadline:
            for descriptor, _ in self._poll.poll(max(0.0, deadline - perf_counter())):
                self._finish(descriptor)
        self.errors += len(self._waiting)


def main() -> None:
    """Connect and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    connector = Connector((options.address, options.port), options.width)
    took = connector.run(options.seconds)
    print(
        json.dumps(
            {
                "connections": len(connector.times),
                "errors": connector.errors,
                "seconds": took,
                "cpu": process_time(),
                "p50_us": percentile(connector.times, 50) * 1e6,
                "p99_us": percentile(connector.times, 99) * 1e6,
            }
        )
    )


if __name__ == "__main__":
    main()
