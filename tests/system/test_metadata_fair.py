"""A guest at its worst is nobody else's business: on real sockets."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

from lab.waiting import wait_for
from tests.system.metadata_rig import (
    CLOSE,
    GET,
    OK,
    Running,
    Serving,
    Start,
    always,
    status_of,
)

DRIPS = 200


def drip(running: Running, over: threading.Event) -> None:
    """Hold DRIPS connections and send a byte of a head on each, again and again."""
    dripping = []
    for _ in range(DRIPS):
        with suppress(ConnectionResetError):  # over the cap it may come this early
            dripping.append(running.connect(2))
    text = GET * 10
    for at in range(len(text)):
        for one in dripping:
            try:
                one.send(text[at : at + 1])
            except OSError:
                continue
        if over.wait(0.05):
            return


def refused(running: Running) -> list[tuple[str, int]]:
    """Who was refused something for its number, and how often."""
    guests = running.snapshot().conspicuous
    return [(guest.identity, guest.limited) for guest in guests]


def test_slow_drip_of_one_guest_is_not_felt_by_another(
    start: Start, upstream: Serving
) -> None:
    """200 connections that send byte by byte: every request of the other guest is
    answered, on fresh connections and kept ones, while they drip.
    """
    running = start()
    running.target(upstream(always(OK)).port)
    over = threading.Event()
    dripping = threading.Thread(target=drip, args=(running, over))
    dripping.start()
    try:
        wait_for(lambda: refused(running) == [("127.0.0.2", DRIPS - 64)])
        kept = running.connect(3)
        for _ in range(40):
            assert running.ask(CLOSE, guest=3).endswith(b"hello")
            kept.sendall(GET)
            assert kept.recv(65536).endswith(b"hello")
        assert dripping.is_alive()
        assert running.snapshot().connections >= 64
    finally:
        over.set()
        dripping.join(10)
    assert [("127.0.0.2", DRIPS - 64)] == refused(running)


def test_a_hammering_guest_leaves_its_neighbour_alone(
    start: Start, upstream: Serving
) -> None:
    """Over its rate a guest is told, and then not read for a while; the other is served
    all the while.
    """
    running = start(guest_request_rate=5.0, guest_request_burst=10)
    running.target(upstream(always(OK)).port)
    hammer = running.connect(2)
    began = time.monotonic()
    hammer.sendall(GET * 24)
    hammer.shutdown(socket.SHUT_WR)
    for _ in range(10):
        assert running.ask(CLOSE, guest=3).endswith(b"hello")
    replies = b""
    while piece := hammer.recv(65536):
        replies += piece
    served, refused = (replies.count(b"HTTP/1.1 %b " % one) for one in (b"200", b"503"))
    assert (24, 24) == (replies.count(b"HTTP/1.1 "), served + refused)
    assert refused > 0
    assert 10 <= served <= 10 + 5.0 * (time.monotonic() - began) + 1


def test_one_guest_cannot_take_all_of_the_upstream(
    start: Start, upstream: Serving
) -> None:
    """Its requests that never end leave the other's alone."""

    def stuck(connection: socket.socket, number: int) -> None:
        while head := connection.recv(65536):
            if b"/slow" not in head:
                connection.sendall(OK)

    running = start(max_guest_requests=4)
    running.target(upstream(stuck).port)
    slow = CLOSE.replace(b"/latest/meta-data/", b"/slow")
    waiting = [running.connect(2) for _ in range(4)]
    for one in waiting:
        one.sendall(slow)
    wait_for(lambda: running.snapshot().requests_in_flight == 4)
    assert 429 == status_of(running.ask(slow, guest=2))
    assert running.ask(CLOSE, guest=3).endswith(b"hello")
