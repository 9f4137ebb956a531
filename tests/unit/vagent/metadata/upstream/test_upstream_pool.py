"""The pool in memory: who waits, who is let in, when an endpoint is tried again."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tests.unit.vagent.metadata.upstream.pool_rig import (
    GET,
    HELLO,
    ONCE,
    Rig,
)
from vagent.errors import UpstreamError
from vagent.metadata.limits import (
    MAX_UPSTREAM_CONNECTIONS,
    MAX_WAITING,
    QUIET_SECONDS,
    RETRY_SECONDS,
)
from vagent.metadata.upstream.events import UpstreamEndpointChanged
from vagent.transport.tls import AlertReceived


def test_first_request_opens_a_connection_and_is_sent_on_it() -> None:
    """Nothing is opened before it is needed."""
    rig = Rig()
    assert [] == rig.attempts
    _, guest = rig.ask()
    upstream, transport = rig.connect(0)
    assert transport.value().startswith(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    upstream.dataReceived(HELLO)
    assert HELLO == guest.value()


def test_held_requests_knock_once_each_half_second_whatever_their_number() -> None:
    """Ten held guests are one connection attempt at a time."""
    rig = Rig(hold_time=8.0)
    asked = [rig.ask(f"169.254.64.{n}") for n in range(2, 12)]
    for number in range(len(rig.attempts)):
        rig.refuse(number)
    before = len(rig.attempts)
    rig.advance(RETRY_SECONDS)
    assert before + 1 == len(rig.attempts)
    rig.refuse(before)
    rig.advance(RETRY_SECONDS)
    assert before + 2 == len(rig.attempts)
    upstream, transport = rig.connect(before + 1)
    assert 1 == transport.value().count(b"GET ")
    upstream.dataReceived(HELLO)
    assert [HELLO] == [guest.value() for _, guest in asked if guest.value()]


def test_hold_ends_with_503() -> None:
    """Exactly when the configured time is up, give or take a tick."""
    rig = Rig(hold_time=2.0)
    _, guest = rig.ask()
    rig.refuse(0)
    rig.advance(1.75)
    assert b"" == guest.value()
    rig.advance(0.5)
    assert guest.value().startswith(b"HTTP/1.1 503 ")
    assert 0 == rig.proxy.snapshot().requests_waiting


@pytest.mark.parametrize(
    ("number", "status"), [(-1, b""), (0, b""), (1, b"HTTP/1.1 503 ")]
)
def test_one_guest_may_hold_so_many(number: int, status: bytes) -> None:
    """One more than the ceiling is refused at once; another guest still waits."""
    rig = Rig(max_guest_requests=40)
    asked = [rig.ask() for _ in range(40 + number)]
    assert status == asked[-1][1].value()[:13]
    _, other = rig.ask("169.254.64.3")
    assert b"" == other.value()


def test_so_many_requests_are_held_for_all_guests_together() -> None:
    """n-1, n, n+1, each of another guest: one more than the ceiling is refused at once,
    and has room when one of those that wait has gone.
    """
    rig = Rig(hold_time=8.0)
    peers = (f"169.254.{64 + n // 250}.{n % 250 + 2}" for n in range(2 * MAX_WAITING))
    asked = [rig.ask(next(peers)) for _ in range(MAX_WAITING)]
    assert [b""] * MAX_WAITING == [transport.value() for _, transport in asked]
    assert MAX_WAITING == rig.proxy.snapshot().requests_waiting
    refused = rig.ask(next(peers))[1].value()
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert MAX_WAITING == rig.proxy.snapshot().requests_waiting
    asked[0][0].connectionLost(Failure(ConnectionDone()))
    assert b"" == rig.ask(next(peers))[1].value()
    assert MAX_WAITING == rig.proxy.snapshot().requests_waiting


def test_a_request_that_met_a_stale_connection_gets_a_new_one() -> None:
    """Not the next one of the pool, which may have gone stale in the same moment: it
    would fail again and again, as often as there are pooled connections.
    """
    rig = Rig()
    for peer in ("169.254.64.2", "169.254.64.3"):
        rig.ask(peer)
    pooled = [rig.connect(number) for number in (0, 1)]
    for upstream, transport in pooled:
        upstream.dataReceived(HELLO)
        transport.clear()
    rig.reactor.advance(2 * QUIET_SECONDS)
    _, guest = rig.ask("169.254.64.4")
    assert 2 == len(rig.attempts), "a pooled connection is used"
    [stale] = [one for one in pooled if one[1].value()]
    [other] = [one for one in pooled if one is not stale]
    stale[0].connectionLost(Failure(ConnectionDone()))
    assert b"" == other[1].value()
    assert 3 == len(rig.attempts)
    upstream, transport = rig.connect(2)
    assert 1 == transport.value().count(b"GET ")
    upstream.dataReceived(HELLO)
    assert HELLO == guest.value()


def test_connections_to_an_endpoint_are_bounded() -> None:
    """Above the ceiling requests wait for a connection that is freed."""
    rig = Rig()
    rig.fill()
    rig.ask()
    assert MAX_UPSTREAM_CONNECTIONS == len(rig.attempts)
    assert (MAX_UPSTREAM_CONNECTIONS, 1) == (
        rig.proxy.snapshot().requests_in_flight,
        rig.proxy.snapshot().requests_waiting,
    )


def test_what_is_never_sent_twice_gets_a_new_connection_among_busy_ones() -> None:
    """Where every connection is busy, one that is freed makes room for a new one: the
    request waits its turn, not for its time to be up.
    """
    rig = Rig()
    (upstream, transport), *others = rig.fill()
    _, guest = rig.ask(head=ONCE)
    rig.ask("169.254.1.2")
    upstream.dataReceived(HELLO)
    assert transport.disconnecting
    busy, busy_transport = others[0]
    busy.dataReceived(HELLO)
    assert not busy_transport.disconnecting, "one request makes room once"
    assert 2 == busy_transport.value().count(b"GET "), "others go on meanwhile"
    upstream.connectionLost(Failure(ConnectionDone()))
    assert MAX_UPSTREAM_CONNECTIONS + 1 == len(rig.attempts)
    fresh, fresh_transport = rig.connect(MAX_UPSTREAM_CONNECTIONS)
    assert b"vendor_data2.json" in fresh_transport.value()
    fresh.dataReceived(HELLO)
    assert HELLO == guest.value()
    assert 0 == rig.proxy.snapshot().requests_waiting


def test_refused_endpoint_is_left_for_the_other() -> None:
    """A waiting request moves on at once; the dead one is tried with growing pauses."""
    rig = Rig("127.0.0.1", "127.0.0.2")
    _, guest = rig.ask()
    dead = rig.attempts[0]
    rig.refuse(0)
    assert {"127.0.0.1", "127.0.0.2"} == set(rig.attempts)
    upstream, _ = rig.connect(1)
    upstream.dataReceived(HELLO)
    assert HELLO == guest.value()
    assert ["DOWN", "UP"] == sorted(rig.states())
    for number in range(2, 6):
        rig.advance(8.0)
        assert dead == rig.attempts[number]
        rig.refuse(number)
    assert len(rig.attempts) < 10


def test_endpoint_that_comes_back_is_used_again() -> None:
    """A knock that succeeds, then a reply, make it UP."""
    rig = Rig()
    rig.ask()
    rig.refuse(0)
    assert ["DOWN"] == rig.states()
    rig.advance(RETRY_SECONDS)
    upstream, _ = rig.connect(1)
    assert ["SUSPECT"] == rig.states()
    upstream.dataReceived(HELLO)
    assert ["UP"] == rig.states()
    told = [one for one in rig.events if isinstance(one, UpstreamEndpointChanged)]
    assert ["DOWN", "SUSPECT"] == [one.label() for one in told]


def test_a_refused_certificate_is_told_once_and_tried_with_a_probe() -> None:
    """However often TLS 1.3 connects and then refuses; no request of a guest is risked
    meanwhile. What waits is served once a probe is answered.
    """
    rig = Rig()
    _, guest = rig.ask()
    alert = Failure(AlertReceived("tlsv1 alert unknown ca"))
    rig.connect(0)[0].connectionLost(alert)
    for number in (1, 2, 3):
        rig.advance(RETRY_SECONDS)
        upstream, sent = rig.connect(number)
        assert sent.value().endswith(b"User-Agent: vagent-probe\r\n\r\n")
        upstream.connectionLost(alert)
        assert ["DOWN"] == rig.states()
    told = [one for one in rig.events if isinstance(one, UpstreamEndpointChanged)]
    assert 1 == len(told)
    assert "does not trust the authority" in told[0].text()
    (endpoint,) = rig.proxy.snapshot().endpoints
    assert endpoint.is_refused
    assert told[0].detail == endpoint.problem
    rig.advance(RETRY_SECONDS)
    rig.connect(4)[0].dataReceived(HELLO)
    assert ["UP"] == rig.states()
    rig.connect(5)[0].dataReceived(HELLO)
    assert HELLO == guest.value()
    (endpoint,) = rig.proxy.snapshot().endpoints
    assert (False, "") == (endpoint.is_refused, endpoint.problem)


def test_an_alert_before_a_request_was_sent_is_a_refusal_too() -> None:
    """On an idle connection, and within the handshake (TLS 1.2)."""
    rig = Rig(probe_interval=3600)
    rig.advance(0.25)
    factory: Any = rig.reactor.tcpClients[0][2]
    said = UpstreamError("sslv3 alert certificate expired", status=503)
    factory.clientConnectionFailed(None, Failure(said))
    assert rig.proxy.snapshot().endpoints[0].is_refused
    rig.use("127.0.0.2", "127.0.0.3")
    rig.advance(0.25)
    guest, _ = rig.ask()
    guest.connectionLost(Failure(ConnectionDone()))
    idle = rig.connect(len(rig.attempts) - 1)[0]
    assert [False, False] == [one.is_refused for one in rig.proxy.snapshot().endpoints]
    idle.connectionLost(Failure(AlertReceived("tlsv1 alert unknown ca")))
    assert 1 == sum(one.is_refused for one in rig.proxy.snapshot().endpoints)


def test_removed_service_answers_what_waits() -> None:
    """No request is held for a service that is gone."""
    rig = Rig()
    _, guest = rig.ask()
    rig.proxy.set_target(None)
    assert guest.value().startswith(b"HTTP/1.1 503 ")


def test_connect_deadline_covers_the_whole_attempt() -> None:
    """A connection that never gets ready is given up and counted as a failure."""
    rig = Rig(connect_timeout=1.0)
    rig.ask()
    rig.advance(1.25)
    assert ["DOWN"] == rig.states()


def test_stop_leaves_nothing() -> None:
    """No timer, no waiting request, no attempt, no connection."""
    rig = Rig("127.0.0.1", "127.0.0.2")
    guests = [rig.ask(f"169.254.64.{n}")[0] for n in (2, 3)]
    upstream, _ = rig.connect(0)
    stopped: list[None] = []
    Deferred.fromCoroutine(rig.proxy.stop()).addCallback(stopped.append)
    assert [] == stopped
    for guest in guests:
        guest.connectionLost(Failure(ConnectionDone()))
    upstream.connectionLost(Failure(ConnectionDone()))
    for number in range(1, len(rig.attempts)):
        rig.refuse(number)
    assert [None] == stopped
    assert [] == rig.reactor.getDelayedCalls()
    assert 0 == rig.proxy.snapshot().requests_waiting


A, B, C = "169.254.64.2", "169.254.64.3", "169.254.64.4"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
NOTHING = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def rest(rig: Rig) -> None:
    """Let the quiet time pass."""
    rig.reactor.advance(QUIET_SECONDS + 0.001)


def test_a_guest_gets_the_connection_that_it_had() -> None:
    """At once, as often as it asks; another guest does not."""
    rig = Rig()
    rig.ask(A)
    upstream, transport = rig.connect(0)
    for count in range(2, 5):
        upstream.dataReceived(HELLO)
        rig.ask(A)
        assert count == transport.value().count(b"GET ")
    upstream.dataReceived(HELLO)
    assert 1 == len(rig.attempts)
    rest(rig)
    rig.ask(B)
    assert 2 == len(rig.attempts), "it may still hold a response of the other's"


def test_a_connection_changes_guests_after_a_quiet_time() -> None:
    """So many guests with a request each need few connections."""
    rig = Rig()
    rig.ask(A)
    upstream, transport = rig.connect(0)
    for peer in (B, C, B):
        upstream.dataReceived(HELLO)
        rest(rig)
        _, guest = rig.ask(peer)
        assert f"X-Instance-ID: instance of {peer}".encode() in transport.value()
        transport.clear()
    upstream.dataReceived(HELLO)
    assert (HELLO, 1) == (guest.value(), len(rig.attempts))


@pytest.mark.parametrize("head", [HEAD, ONCE, GET.replace(b"GET", b"PUT")])
def test_a_request_that_binds_keeps_its_connection_from_others(head: bytes) -> None:
    """HEAD, and what has side effects."""
    rig = Rig()
    rig.ask(A, head)
    rig.connect(0)[0].dataReceived(NOTHING)
    rest(rig)
    rig.ask(B)
    assert 2 == len(rig.attempts)


def test_bytes_on_an_idle_connection_end_it() -> None:
    """Whether the reactor has read them yet or not."""
    rig = Rig()
    rig.ask(A)
    upstream, transport = rig.connect(0)
    upstream.dataReceived(HELLO)
    rest(rig)
    transport.unread = True
    rig.ask(A)
    assert (1, 2) == (transport.value().count(b"GET "), len(rig.attempts))
    upstream, transport = rig.connect(1)
    upstream.dataReceived(HELLO)
    upstream.dataReceived(b"x")
    rig.ask(A)
    assert (1, 3) == (transport.value().count(b"GET "), len(rig.attempts))


def test_at_the_limit_a_quiet_connection_serves_who_waits() -> None:
    """Its guest must wait behind the other, and gets it next."""
    rig = Rig()
    (upstream, transport), *_ = rig.fill()
    _, waiting = rig.ask(A)
    upstream.dataReceived(HELLO)
    rig.ask("169.254.0.2")
    assert 1 == transport.value().count(b"GET ")
    rest(rig)
    assert 2 == transport.value().count(b"GET ")
    upstream.dataReceived(HELLO)
    assert HELLO == waiting.value()
    rest(rig)
    assert 3 == transport.value().count(b"GET ")
    assert 0 == rig.proxy.snapshot().requests_waiting
    assert MAX_UPSTREAM_CONNECTIONS == len(rig.attempts)


@pytest.mark.parametrize("is_idle", [False, True])
def test_at_the_limit_a_bound_connection_makes_room(*, is_idle: bool) -> None:
    """Nobody else may have it, so it goes for a new one: when another guest comes, or
    when it is freed. Waiting ends long before its time is up.
    """
    rig = Rig()
    made = []
    for number in range(MAX_UPSTREAM_CONNECTIONS):
        rig.ask(f"169.254.{number}.2", HEAD)
        made.append(rig.connect(number))
    upstream, transport = made[0]
    if is_idle:
        upstream.dataReceived(NOTHING)
    _, waiting = rig.ask(A)
    if not is_idle:
        assert not transport.disconnecting
        upstream.dataReceived(NOTHING)
    assert transport.disconnecting
    made[1][0].dataReceived(NOTHING)
    assert not made[1][1].disconnecting, "one request makes room once"
    upstream.connectionLost(Failure(ConnectionDone()))
    assert MAX_UPSTREAM_CONNECTIONS + 1 == len(rig.attempts)
    rig.connect(MAX_UPSTREAM_CONNECTIONS)[0].dataReceived(HELLO)
    assert HELLO == waiting.value()


def test_a_busy_guest_does_not_keep_others_waiting() -> None:
    """It has all connections and always a next request; the other one is served."""
    rig = Rig(max_guest_requests=256, max_guest_connections=256)
    made = []
    for number in range(MAX_UPSTREAM_CONNECTIONS):
        rig.ask(A, GET.replace(b"/", b"/%d" % number, 1))
        made.append(rig.connect(number))
    _, waiting = rig.ask(B)
    for number in range(MAX_UPSTREAM_CONNECTIONS):
        rig.ask(A, GET.replace(b"/", b"/again-%d" % number, 1))
    made[0][0].dataReceived(HELLO)
    rest(rig)
    assert b"instance of 169.254.64.3" in made[0][1].value()
    made[0][0].dataReceived(HELLO)
    assert HELLO == waiting.value()


def test_held_guests_are_served_once_the_endpoint_answers() -> None:
    """The first response opens connections for all the others that wait."""
    rig = Rig(hold_time=8.0)
    asked = [rig.ask(f"169.254.64.{n}")[1] for n in range(2, 12)]
    for number in range(len(rig.attempts)):
        rig.refuse(number)
    rig.advance(RETRY_SECONDS)
    before = len(rig.attempts)
    rig.connect(before - 1)[0].dataReceived(HELLO)
    assert before + 9 == len(rig.attempts)
    for number in range(before, before + 9):
        rig.connect(number)[0].dataReceived(HELLO)
    assert [HELLO] * 10 == [one.value() for one in asked]


def test_stopping_cancels_the_wait_for_a_quiet_connection() -> None:
    """No timer is left."""
    rig = Rig()
    asked = []
    made = []
    for number in range(MAX_UPSTREAM_CONNECTIONS):
        asked.append(rig.ask(f"169.254.{number}.2")[0])
        made.append(rig.connect(number)[0])
    asked.append(rig.ask(A)[0])
    made[0].dataReceived(HELLO)
    stopped: list[None] = []
    Deferred.fromCoroutine(rig.proxy.stop()).addCallback(stopped.append)
    for one in (*asked, *made):
        one.connectionLost(Failure(ConnectionDone()))
    assert [None] == stopped
    assert [] == rig.reactor.getDelayedCalls()
