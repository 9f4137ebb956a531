"""Cached and shared responses on real sockets, with upstreams that come and go."""

from __future__ import annotations

import socket
import threading
import time

from lab.namespaces import PATIENCE
from lab.waiting import wait_for
from tests.system.metadata_rig import (
    CLOSE,
    GET,
    OK,
    Serving,
    Start,
    always,
    once,
    read_all,
    read_head,
    status_of,
)


def test_thirty_at_once_are_one_upstream(start: Start, upstream: Serving) -> None:
    """A boot's parallel requests for one document cost the upstream one."""
    heads: list[bytes] = []
    all_asked = threading.Event()

    def late(connection: socket.socket, number: int) -> None:
        while head := read_head(connection):
            heads.append(head)
            assert all_asked.wait(10 * PATIENCE)
            connection.sendall(OK)

    running = start(cache_ttl=15.0, response_timeout=10 * PATIENCE)
    running.target(upstream(late).port)
    asking = [running.connect() for _ in range(30)]
    for one in asking:
        one.sendall(CLOSE)
    wait_for(lambda: running.snapshot().coalesced == 29)
    all_asked.set()
    assert all(read_all(one).endswith(b"hello") for one in asking)
    assert running.ask(CLOSE).endswith(b"hello")
    assert 1 == len(heads)
    assert running.ask(CLOSE, guest=3).endswith(b"hello")
    assert 2 == len(heads), "another guest's reply was given"


def test_an_upstream_that_dies_is_covered_for_a_while(
    start: Start, upstream: Serving
) -> None:
    """What was asked before is answered at once; what was not is held, then 503."""
    server = upstream(once(OK))
    running = start(cache_ttl=0.2, hold_time=1.0)
    running.target(server.port)
    assert running.ask(CLOSE).endswith(b"hello")
    server.close()
    wait_for(lambda: running.snapshot().endpoints[0].idle == 0)
    time.sleep(0.3)
    for _ in range(3):
        assert running.ask(CLOSE).endswith(b"hello")
    other = CLOSE.replace(b"meta-data/", b"user-data")
    assert 503 == status_of(running.ask(other))
    assert 503 == status_of(running.ask(CLOSE, guest=3))


def test_a_cached_response_is_given_to_any_client_of_the_guest(
    start: Start, upstream: Serving
) -> None:
    """HTTP/1.0, HEAD and keep-alive get what they asked, from one upstream request."""
    heads: list[bytes] = []
    running = start(cache_ttl=15.0)
    running.target(upstream(always(OK, heads)).port)
    one = running.connect()
    for _ in range(3):
        one.sendall(GET)
        assert OK == read_head(one)
    closing = OK[:-7] + b"Connection: close\r\n\r\n"
    assert closing + b"hello" == running.ask(b"GET /latest/meta-data/ HTTP/1.0\r\n\r\n")
    assert closing == running.ask(CLOSE.replace(b"GET", b"HEAD"))
    assert 1 == len(heads)
