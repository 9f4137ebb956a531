"""An upstream that sends more than it was asked for: no guest gets another's bytes."""

from __future__ import annotations

import os
import random
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.system.metadata_rig import (
    Running,
    Serving,
    Start,
    read_all,
    read_head,
    registration,
)
from vagent.metadata.limits import QUIET_SECONDS

GUESTS = 64
REQUESTS = int(os.environ.get("SURPLUS_REQUESTS", "20000"))
"""Of all guests together; so many take 15 seconds."""
LONGEST = QUIET_SECONDS * 0.9
"""The latest that a surplus is sent; the rest of the quiet time is for its way."""
WORKS = 0.01
"""Seconds that most answers take; a few take longer than the quiet time."""
_INSTANCE = re.compile(rb"X-Instance-ID: (\S+)")
_TOKEN = re.compile(rb"token-of-(\S+?)-end")


def instance(number: int) -> str:
    return f"32d0524b-314d-4594-b3a3-{number:012d}"


@dataclass
class Misbehaving:
    """Answers with a token that names the instance, and now and then sends more: a body
    after HEAD, 204 and 304, or a second response, at once or later.
    """

    seed: int
    surplus: int = 0
    connections: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, connection: socket.socket, number: int) -> None:
        dice = random.Random(self.seed * 1_000_003 + number)  # noqa: S311  a test
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self.connections += 1
        while head := read_head(connection):
            found = _INSTANCE.search(head)
            assert found is not None
            body = b"token-of-%b-end" % found[1]
            whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            response = whole if head.startswith(b"HEAD ") else whole + body
            if dice.random() < 0.1:
                status = dice.choice((b"204 No Content", b"304 Not Modified"))
                response = b"HTTP/1.1 %b\r\n\r\n" % status
            time.sleep(WORKS * dice.random() * (20 if dice.random() < 0.05 else 1))
            connection.sendall(response)
            sent = time.monotonic()
            if dice.random() < 0.3:
                if dice.random() < 0.7:
                    time.sleep(dice.random() * LONGEST)
                if time.monotonic() - sent > LONGEST:
                    continue  # the machine is too busy
                connection.sendall(whole + body)
                with self._lock:
                    self.surplus += 1


@dataclass
class Guest:
    """Asks over one connection after the other, and counts whose tokens it gets."""

    running: Running
    number: int
    seed: int
    own: int = 0
    foreign: int = 0
    replies: int = 0

    def ask(self, requests: int) -> None:
        dice = random.Random(self.seed * 7_919 + self.number)  # noqa: S311  a test
        mine = instance(self.number).encode()
        for _ in range(requests):
            method = b"HEAD" if dice.random() < 0.1 else b"GET"
            path = b"/latest/meta-data/%d" % dice.getrandbits(60)
            reply = self._reply(
                method + b" " + path + b" HTTP/1.1\r\nHost: a\r\n"
                b"Connection: close\r\n\r\n"
            )
            self.replies += bool(reply)
            tokens = _TOKEN.findall(reply)
            self.own += tokens.count(mine)
            self.foreign += len(tokens) - tokens.count(mine)
            if dice.random() < 0.3:
                time.sleep(dice.random() * QUIET_SECONDS)

    def _reply(self, request: bytes) -> bytes:
        source = (f"127.0.0.{self.number}", 0)
        address = ("127.0.0.1", self.running.port)
        with socket.create_connection(address, 10, source_address=source) as one:
            one.sendall(request)
            return read_all(one)


def test_no_guest_gets_what_was_left_of_anothers_response(
    start: Start, upstream: Serving
) -> None:
    """64 guests, each with a token of its own; surplus bytes up to the quiet time after
    a response. Connections are still used again, by the same guests and by others.
    """
    seed = int(os.environ.get("SURPLUS_SEED", random.SystemRandom().randrange(1 << 30)))
    print("seed", seed)
    running = start()
    numbers = range(2, 2 + GUESTS)
    running.guests.update(
        (f"127.0.0.{one}", registration(one, instance(one))) for one in numbers
    )
    misbehaving = Misbehaving(seed)
    running.target(upstream(misbehaving).port)
    guests = [Guest(running, one, seed) for one in numbers]
    with ThreadPoolExecutor(GUESTS) as pool:
        for done in [pool.submit(one.ask, REQUESTS // GUESTS) for one in guests]:
            done.result()
    foreign = sum(one.foreign for one in guests)
    own = sum(one.own for one in guests)
    replies = sum(one.replies for one in guests)
    print(f"own {own}, foreign {foreign}, replies {replies}", misbehaving)
    assert 0 == foreign
    assert GUESTS * (REQUESTS // GUESTS) == replies
    assert own > replies // 2
    assert misbehaving.surplus > replies // 10
    assert misbehaving.connections < replies * 0.95
