"""Guests that boot all at once, each asking as cloud-init asks; a process of its own.

Each has a source address, sends one request after the other on a connection of its own
and looks whether the answer is for it. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import errno
import heapq
import json
import re
import select
import socket
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import perf_counter

from bench.clients.boot import BAD, TIMEOUT, Boot, Outcome
from bench.clients.crowd import Member, load
from bench.report.figures import percentile

CHUNK = 65536
IP_BIND_ADDRESS_NO_PORT = 24
"""ip(7); Python has no name for it."""
LONGEST = 240.0
"""Seconds after which the storm is broken off: whoever still boots is lost."""
HEAD = (
    b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: Cloud-Init/22.4.2\r\n"
    b"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n"
)
"""As python-requests sends it for cloud-init."""
LENGTH = re.compile(rb"(?i)\r\ncontent-length:\s*(\d+)")


@dataclass(slots=True)
class Guest:
    """One of them. `due` is when it asks next, or has waited long enough."""

    member: Member
    boot: Boot = field(default_factory=Boot)
    link: socket.socket | None = None
    connected: bool = False
    said: bytes = b""
    due: float = 0.0
    took: float = 0.0


class Storm:
    """All of them, on one epoll. Each has one timer that counts, at any time."""

    def __init__(self, where: tuple[str, int], members: list[Member]) -> None:
        self._where = where
        self._host = where[0].encode()
        self._poll = select.epoll()
        self._linked: dict[int, Guest] = {}
        self._timers: list[tuple[float, int, Guest]] = []
        self._numbers = count()
        self.guests = [Guest(member) for member in members]
        self.booting = len(self.guests)
        self.good = 0
        self.failures: Counter[str] = Counter()

    def run(self) -> float:
        """Boot them all; seconds until the last has ended."""
        began = perf_counter()
        for guest in self.guests:
            self._later(began, guest)
        while self.booting and perf_counter() < began + LONGEST:
            wait = self._timers[0][0] - perf_counter()
            for descriptor, _ in self._poll.poll(max(0.0, wait)):
                guest_there = self._linked.get(descriptor)
                if guest_there is not None:
                    self._ready(guest_there)
            self._wake(perf_counter(), began)
        return perf_counter() - began

    def _later(self, when: float, guest: Guest) -> None:
        guest.due = when
        heapq.heappush(self._timers, (when, next(self._numbers), guest))

    def _wake(self, now: float, began: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            when, _, guest = heapq.heappop(self._timers)
            if when != guest.due:
                continue
            if guest.link is not None:
                self._unanswered(guest, "timeout")
            elif guest.boot.path is None:
                guest.took = now - began
                self.booting -= 1
            else:
                self._connect(guest)

    def _connect(self, guest: Guest) -> None:
        link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        link.setblocking(False)
        # Or the kernel looks for a port that is free for any destination.
        link.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        link.bind((guest.member.address, 0))
        guest.link, guest.connected, guest.said = link, False, b""
        self._linked[link.fileno()] = guest
        self._later(perf_counter() + TIMEOUT, guest)
        if link.connect_ex(self._where) in (0, errno.EINPROGRESS):
            self._poll.register(link.fileno(), select.EPOLLOUT)
        else:
            self._unanswered(guest, "connect")

    def _ready(self, guest: Guest) -> None:
        link = guest.link
        if link is None:
            return
        try:
            if guest.connected:
                self._read(guest, link)
            else:
                self._ask(guest, link)
        except BlockingIOError:
            pass  # it was for a socket that had this number before
        except OSError as failure:
            self._unanswered(guest, errno.errorcode.get(failure.errno or 0, "error"))

    def _ask(self, guest: Guest, link: socket.socket) -> None:
        code = link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, "connect")
        path = guest.boot.path or ""
        link.send(HEAD % (path.encode(), self._host))
        guest.connected = True
        self._poll.modify(link.fileno(), select.EPOLLIN)
        self._later(perf_counter() + TIMEOUT, guest)

    def _read(self, guest: Guest, link: socket.socket) -> None:
        data = link.recv(CHUNK)
        guest.said += data
        status = answer(guest.said, ended=not data, mine=guest.member.instance_id)
        if status is not None:
            self._answered(guest, status)
        elif not data:
            self._unanswered(guest, "cut off")
        else:
            self._later(perf_counter() + TIMEOUT, guest)

    def _answered(self, guest: Guest, status: int) -> None:
        if status < BAD:
            self.good += 1
        else:
            self.failures[str(status)] += 1
        self._go_on(guest, guest.boot.answered(status))

    def _unanswered(self, guest: Guest, why: str) -> None:
        self.failures[why] += 1
        self._go_on(guest, guest.boot.unanswered())

    def _go_on(self, guest: Guest, pause: float) -> None:
        if guest.link is not None:
            del self._linked[guest.link.fileno()]
            guest.link.close()
            guest.link = None
        self._later(perf_counter() + pause, guest)


def answer(said: bytes, *, ended: bool, mine: str) -> int | None:
    """The status of a whole answer; None where there is more to come.

    Raises ForeignAnswerError if it is good and for another guest.
    """
    head, found, body = said.partition(b"\r\n\r\n")
    if not found:
        return None
    told = LENGTH.search(head)
    if len(body) < int(told[1]) if told else not ended:
        return None
    status = int(head[9:12])
    if status < BAD and not body.startswith(mine.encode()):
        raise ForeignAnswerError(f"{mine} was given {body[:60]!r}")
    return status


class ForeignAnswerError(Exception):
    """An identity was mixed up: then no figure is worth anything."""


def main() -> None:
    """Boot and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--crowd", type=Path, required=True)
    options = parser.parse_args()
    storm = Storm((options.address, options.port), load(options.crowd))
    seconds = storm.run()
    ended = Counter(guest.boot.outcome for guest in storm.guests if guest.took)
    times = [guest.took for guest in storm.guests if guest.took]
    whole = [
        guest.took for guest in storm.guests if guest.boot.outcome is Outcome.WHOLE
    ]
    print(
        json.dumps(
            {
                "seconds": seconds,
                "whole": ended[Outcome.WHOLE],
                "incomplete": ended[Outcome.INCOMPLETE],
                "lost": ended[Outcome.LOST] + storm.booting,
                "good": storm.good,
                "repeated": sum(guest.boot.repeated for guest in storm.guests),
                "failures": dict(storm.failures),
                "p50": percentile(whole, 50),
                "p99": percentile(whole, 99),
                "last": max(times, default=0.0),
            }
        )
    )


if __name__ == "__main__":
    main()
