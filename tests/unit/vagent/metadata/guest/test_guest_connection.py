"""The guest side on fake transports and a fake clock: deadlines, ceilings, order."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from tests.unit.vagent.metadata.proxy_rig import (
    GET,
    HELLO,
    Rig,
)
from tests.unit.vagent.transport.one_turn import one_turn
from vagent.metadata.limits import (
    BODY_SECONDS,
    DRAIN_SECONDS,
    HEAD_SECONDS,
    IDLE_AFTER_404_SECONDS,
    IDLE_SECONDS,
    LINGER_SECONDS,
    MAX_LINGERED,
    MAX_PIPELINED,
    MAX_REQUESTS_PER_TURN,
    MAX_TURNED_AWAY,
    OVER_RATE_SECONDS,
)
from vagent.metadata.upstream.target import HostPort, Target
from vagent.transport.deadlines import TICK_SECONDS
from vagent.transport.turns import MAX_PER_TURN


def test_one_request_one_reply_in_one_write() -> None:
    """Head and body leave together, and the connection is ready for the next."""
    rig = Rig()
    guest, transport = rig.guest()
    for _ in range(2):
        guest.dataReceived(GET)
        assert rig.upstreams[0].take().startswith(b"GET / HTTP/1.1\r\nHost: 127.0.0.1")
        rig.connections[0].dataReceived(HELLO)
        assert HELLO == transport.take()
    assert 1 == len(rig.connections)


def test_a_connection_has_few_enough_attributes() -> None:
    """CPython 3.11 keeps at most 29 attributes of an object in place; with more, each
    access costs more.
    """
    rig = Rig()
    guest, _ = rig.guest()
    guest.dataReceived(GET)
    assert len(vars(guest)) < 30


def test_head_byte_by_byte_and_a_leading_empty_line() -> None:
    """However it arrives, it is the same request."""
    rig = Rig()
    guest, _ = rig.guest()
    for byte in b"\r\n" + GET:
        guest.dataReceived(bytes((byte,)))
    assert rig.upstreams[0].sent.startswith(b"GET / HTTP/1.1\r\n")


def test_dripped_head_is_cut_by_an_absolute_deadline() -> None:
    """Each byte does not buy more time: 408 after HEAD_SECONDS."""
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(b"GET ")
    for _ in range(int(HEAD_SECONDS)):
        assert b"" == transport.sent
        rig.advance(1.0)
        guest.dataReceived(b"x")
    assert transport.sent.startswith(b"HTTP/1.1 408 ")
    assert ["refused-408"] == rig.labels()


def test_dripped_body_is_cut_by_an_absolute_deadline() -> None:
    """The same for a body."""
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
    for _ in range(int(BODY_SECONDS)):
        assert b"" == transport.sent
        rig.advance(1.0)
        guest.dataReceived(b"x")
    assert transport.sent.startswith(b"HTTP/1.1 408 ")


def test_idle_connection_is_closed_without_a_word() -> None:
    """A keep-alive connection nobody uses ends quietly."""
    rig = Rig()
    _, transport = rig.guest()
    rig.advance(IDLE_SECONDS - 1)
    assert "open" == transport.state
    rig.advance(2)
    assert ("closed", b"") == (transport.state, transport.sent)


NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [(NOT_FOUND, IDLE_AFTER_404_SECONDS), (HELLO, IDLE_SECONDS)],
)
def test_a_connection_ends_soon_after_404(reply: bytes, seconds: float) -> None:
    """Clients that leave the body unread do not use it again; after another request it
    is a connection like any other.
    """
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(reply)
    rig.advance(seconds - 1)
    assert "open" == transport.state
    rig.advance(1 + TICK_SECONDS)
    assert "closed" == transport.state


def test_a_request_after_404_is_served_as_ever() -> None:
    """It begins before the connection ends, and has the time that requests have."""
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(NOT_FOUND)
    rig.advance(IDLE_AFTER_404_SECONDS - 1)
    guest.dataReceived(GET[:-1])
    rig.advance(IDLE_AFTER_404_SECONDS)
    guest.dataReceived(GET[-1:])
    rig.connections[0].dataReceived(HELLO)
    rig.advance(IDLE_SECONDS - 1)
    assert "open" == transport.state
    assert transport.sent.endswith(HELLO[-5:])


def test_a_pipelined_request_after_404_has_its_time() -> None:
    """It is under way already when the 404 is sent."""
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(GET + GET)
    rig.connections[0].dataReceived(NOT_FOUND)
    rig.advance(IDLE_AFTER_404_SECONDS + 1)
    assert "open" == transport.state
    rig.connections[0].dataReceived(HELLO)
    assert transport.sent.endswith(HELLO[-5:])


def test_slow_reader_is_reset() -> None:
    """A reply that is not taken in time holds no memory for longer."""
    rig = Rig(response_timeout=1000.0)
    guest, transport = rig.guest()
    transport.room = 3
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    assert (3, len(HELLO) - 3) == (len(transport.sent), len(transport.pending))
    rig.advance(DRAIN_SECONDS + 1)
    assert "aborted" == transport.state
    assert ["slow-reader"] == rig.labels()


def test_slow_guest_pauses_the_upstream_of_a_large_body() -> None:
    """Not one more byte is read for a guest that does not take what is there."""
    rig = Rig(response_timeout=1000.0)
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    upstream = rig.connections[0]
    upstream.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
    assert transport.sent.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n")
    transport.room = 10
    upstream.dataReceived(b"x" * 1000)
    assert "paused" == rig.upstreams[0].reading
    transport.drain()
    assert "on" == rig.upstreams[0].reading
    upstream.dataReceived(b"x" * 199000)
    assert transport.sent.endswith(b"x" * 200000)
    assert rig.upstreams[0].state == "open"


def test_dripping_large_body_is_cut() -> None:
    """A streamed body below the least rate ends both connections."""
    rig = Rig(response_timeout=1000.0)
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(
        b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"
    )
    for _ in range(22):
        rig.connections[0].dataReceived(b"x")
        rig.advance(0.5)
    assert ("aborted", "aborted") == (transport.state, rig.upstreams[0].state)
    assert ["broken-reply"] == [one for one in rig.labels() if one == "broken-reply"]


def test_pipelined_bytes_are_bounded() -> None:
    """Behind an unanswered request reading stops, and goes on after the reply."""
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    guest.dataReceived(GET)
    assert "on" == transport.reading
    guest.dataReceived(b"x" * MAX_PIPELINED)
    assert "paused" == transport.reading
    rig.connections[0].dataReceived(HELLO)
    assert "on" == transport.reading
    rig.connections[0].dataReceived(HELLO)
    assert transport.sent.startswith(HELLO + HELLO + b"HTTP/1.1 4")


def test_pipelined_requests_take_turns() -> None:
    """Those that are answered at once are answered a few in each turn of the reactor,
    so that one guest that sends thousands holds nobody up, and all in the end.
    """
    rig = Rig()
    rig.proxy.set_target(None)
    guests = [rig.guest() for _ in range(2)]
    for guest, _ in guests:
        guest.dataReceived(GET * 100)
    for turn in range(1, 100 // MAX_REQUESTS_PER_TURN):
        expected = turn * MAX_REQUESTS_PER_TURN
        for _, transport in guests:
            assert expected == transport.sent.count(b"HTTP/1.1 503 ")
        one_turn(rig.clock)
    assert all(100 == one.sent.count(b"HTTP/1.1 503 ") for _, one in guests)


def test_who_waits_for_a_turn_is_answered_before_the_end() -> None:
    """The guest has ended its side meanwhile; what comes meanwhile waits as well."""
    rig = Rig()
    rig.proxy.set_target(None)
    guest, transport = rig.guest()
    guest.dataReceived(GET * (MAX_REQUESTS_PER_TURN + 1))
    guest.dataReceived(GET)
    guest.readConnectionLost()
    assert "open" == transport.state
    for _ in range(2):
        one_turn(rig.clock)
    assert MAX_REQUESTS_PER_TURN + 2 == transport.sent.count(b"HTTP/1.1 503 ")
    assert "closed" == transport.state


def test_connections_whose_pause_is_over_take_turns() -> None:
    """Pauses that began together end together: what the guest has sent meanwhile is not
    begun on all its connections at once.
    """
    rig = Rig(guest_request_rate=0.001, guest_request_burst=1)
    rig.proxy.set_target(None)
    guests = [rig.guest() for _ in range(MAX_PER_TURN + 1)]
    for guest, _ in guests:
        guest.dataReceived(GET * 3)
    for _ in range(3):
        one_turn(rig.clock)
    assert {"paused"} == {transport.reading for _, transport in guests}
    for _, transport in guests:
        transport.take()
    rig.clock.rightNow += OVER_RATE_SECONDS + TICK_SECONDS
    one_turn(rig.clock)
    assert {b""} == {transport.sent for _, transport in guests}
    one_turn(rig.clock)
    assert MAX_PER_TURN == sum(bool(transport.sent) for _, transport in guests)


def test_a_connection_that_closes_has_no_turn() -> None:
    """Nothing is answered, and nothing breaks."""
    rig = Rig()
    rig.proxy.set_target(None)
    guest, transport = rig.guest()
    guest.dataReceived(GET * 100)
    guest.connectionLost(Failure(ConnectionDone()))
    transport.take()
    one_turn(rig.clock)
    assert b"" == transport.sent


def test_refusal_half_closes_and_drains() -> None:
    """After 400 the guest's bytes are drained for a while, then the connection ends."""
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    assert (
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        == (transport.take())
    )
    assert "half-closed" == transport.state
    guest.dataReceived(GET)
    assert b"" == transport.sent
    rig.advance(LINGER_SECONDS + TICK_SECONDS)
    assert "aborted" == transport.state


def test_draining_is_bounded_in_bytes() -> None:
    """A guest that goes on sending after a refusal is reset."""
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(b"bad\r\n\r\n")
    guest.dataReceived(b"x" * MAX_LINGERED)
    assert "half-closed" == transport.state
    guest.dataReceived(b"x")
    assert "aborted" == transport.state


def test_half_close_before_the_reply() -> None:
    """A guest that has sent FIN is answered, then closed."""
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    guest.readConnectionLost()
    assert "open" == transport.state
    rig.connections[0].dataReceived(HELLO)
    assert (HELLO, "closed") == (transport.sent, transport.state)


@pytest.mark.parametrize(
    "data",
    [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"],
)
def test_half_close_without_a_whole_request(data: bytes) -> None:
    """Nothing can be answered: closed at once."""
    rig = Rig()
    guest, transport = rig.guest()
    if data:
        guest.dataReceived(data)
    guest.readConnectionLost()
    assert "closed" == transport.state


def test_guest_that_leaves_frees_the_upstream() -> None:
    """Its request is not waited for, and the connection is not pooled half-way."""
    rig = Rig()
    guest, _ = rig.guest()
    guest.dataReceived(GET)
    guest.connectionLost(Failure(ConnectionLost()))
    assert "aborted" == rig.upstreams[0].state
    assert (0, 0) == (
        rig.proxy.snapshot().requests_in_flight,
        rig.proxy.snapshot().connections,
    )


def test_connections_over_the_cap() -> None:
    """Told 503 up to a number, then reset."""
    rig = Rig(max_guest_connections=1)
    kept = [rig.guest() for _ in range(2 + MAX_TURNED_AWAY)]
    states = [transport.state for _, transport in kept]
    assert ["open"] + ["half-closed"] * MAX_TURNED_AWAY + ["aborted"] == states
    assert all(t.sent.startswith(b"HTTP/1.1 503 ") for _, t in kept[1:-1])


def test_unknown_guest() -> None:
    """404, closed, and not a byte upstream."""
    rig = Rig()
    rig.registration = None
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    assert transport.sent.startswith(b"HTTP/1.1 404 ")
    assert ("closed", []) == (transport.state, rig.connections)


def test_post_is_not_sent_on_a_pooled_connection() -> None:
    """What cannot be retried must not meet a stale connection."""
    rig = Rig()
    guest, _ = rig.guest()
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    guest.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
    assert 2 == len(rig.connections)
    assert rig.upstreams[1].sent.endswith(b"Content-Length: 1\r\n\r\nx")


def test_a_changed_target_lets_what_is_in_flight_finish() -> None:
    """The reply of the old endpoint still arrives; its connection is not pooled."""
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    rig.proxy.set_target(Target((HostPort("127.0.0.2", 8775),), ""))
    rig.connections[0].dataReceived(HELLO)
    assert HELLO == transport.take()
    assert "closing" == rig.upstreams[0].state
    guest.dataReceived(GET)
    assert 2 == len(rig.connections)


def test_secret_is_in_no_repr() -> None:
    """Not in the proxy's, not in a snapshot's, not in an event's."""
    rig = Rig()
    guest, _ = rig.guest()
    guest.dataReceived(GET)
    shown = f"{rig.proxy!r}{rig.proxy.snapshot()!r}{rig.events!r}{guest!r}"
    assert "X-Instance-ID-Signature" not in shown
    assert repr(b"s") not in shown


CLOSING = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def test_last_reply_and_close_are_one_step() -> None:
    """When all is sent the connection is closed and given back within the call."""
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(CLOSING)
    rig.connections[0].dataReceived(HELLO)
    assert transport.sent.endswith(b"\r\n\r\nhello")
    assert "closed" == transport.state
    assert 0 == rig.proxy.snapshot().connections


def test_close_waits_for_a_slow_guest() -> None:
    """What the kernel has not taken yet is sent before the end."""
    rig = Rig()
    guest, transport = rig.guest()
    transport.room = 10
    guest.dataReceived(CLOSING)
    rig.connections[0].dataReceived(HELLO)
    assert "closing" == transport.state
    assert 1 == rig.proxy.snapshot().connections
    transport.drain()
    assert transport.sent.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("behind", [b"GET", b"y" * (MAX_PIPELINED + 1)])
def test_last_reply_survives_what_the_guest_sent_behind(behind: bytes) -> None:
    """Closing on unread bytes would reset: they are drained, and no request to us."""
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(CLOSING)
    guest.dataReceived(behind)
    rig.connections[0].dataReceived(HELLO)
    assert ("half-closed", "on") == (transport.state, transport.reading)
    guest.dataReceived(GET)
    assert transport.sent.endswith(b"\r\n\r\nhello")
    rig.advance(LINGER_SECONDS + TICK_SECONDS)
    assert "aborted" == transport.state


def test_slow_guest_has_its_time_before_the_draining() -> None:
    """What it has not taken is not cut after the short time of a drain."""
    rig = Rig()
    guest, transport = rig.guest()
    transport.room = 10
    guest.dataReceived(CLOSING)
    guest.dataReceived(b"GET")
    rig.connections[0].dataReceived(HELLO)
    rig.advance(LINGER_SECONDS + 1)
    assert "open" == transport.state
    transport.drain()
    assert "half-closed" == transport.state
    guest.readConnectionLost()
    assert "closed" == transport.state
