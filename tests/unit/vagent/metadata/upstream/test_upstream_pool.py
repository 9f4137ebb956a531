"""The pool in memory: who waits, who is let in, when an endpoint is tried again."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import count
from typing import Any

import pytest
from twisted.internet.address import IPv4Address as PeerAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from vagent.config.model import MetadataProxyConfig, Secret
from vagent.metadata.limits import (
    MAX_UPSTREAM_CONNECTIONS,
    MAX_WAITING,
    RETRY_SECONDS,
)
from vagent.metadata.proxy import MetadataProxy
from vagent.metadata.upstream.events import UpstreamEndpointProbed
from vagent.metadata.upstream.target import HostPort, Target
from vagent.observe.event import Event
from vagent.ports.port import Port, Registration
from vagent.transport.deadlines import TICK_SECONDS

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ONCE = b"GET /openstack/latest/vendor_data2.json HTTP/1.1\r\nHost: a\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
PORT = Port("p", "i", "t", "", "", "tap", "", IPv4Address("10.0.0.3"), None)
REGISTRATION = Registration(PORT, 2, IPv4Address("169.254.64.2"))


class Transport(StringTransport):
    """StringTransport with what TCP adds."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Accepted."""

    def loseWriteConnection(self) -> None:
        """Accepted."""


class Bench:
    """A proxy whose upstream connections succeed or fail when a test says so."""

    def __init__(self, *hosts: str, **changes: Any) -> None:
        self.reactor = MemoryReactorClock()
        self.events: list[Event] = []
        self.proxy = MetadataProxy(
            MetadataProxyConfig(shared_secret=Secret(b"s"), cache_ttl=0.0, **changes),
            identify=lambda _: REGISTRATION,
            emit=self.events.append,
            reactor=self.reactor,
            request_ids=count(1),
        )
        self.protocols: list[Any] = []
        self.use(*(hosts or ("127.0.0.1",)))

    def use(self, *hosts: str) -> None:
        self.proxy.set_target(Target(tuple(HostPort(host, 80) for host in hosts), ""))

    def ask(
        self, peer: str = "169.254.64.2", head: bytes = GET
    ) -> tuple[Any, Transport]:
        transport = Transport(peerAddress=PeerAddress("TCP", peer, 40000))
        guest: Any = self.proxy.factory.buildProtocol(transport.getPeer())
        guest.makeConnection(transport)
        guest.dataReceived(head)
        return guest, transport

    def fill(self) -> list[Any]:
        """As many connections as may be open, each with a request."""
        made = []
        for number in range(MAX_UPSTREAM_CONNECTIONS):
            self.ask(f"169.254.{number}.2")
            made.append(self.connect(number))
        return made

    @property
    def attempts(self) -> list[str]:
        return [client[0] for client in self.reactor.tcpClients]

    def connect(self, number: int) -> tuple[Any, Transport]:
        protocol: Any = self.reactor.tcpClients[number][2].buildProtocol(None)
        transport = Transport()
        protocol.makeConnection(transport)
        return protocol, transport

    def refuse(self, number: int) -> None:
        factory: Any = self.reactor.tcpClients[number][2]
        factory.clientConnectionFailed(None, Failure(ConnectError()))

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_SECONDS)):
            self.reactor.advance(TICK_SECONDS)

    def states(self) -> list[str]:
        return [one.state for one in self.proxy.snapshot().endpoints]


def test_first_request_opens_a_connection_and_is_sent_on_it() -> None:
    """Nothing is opened before it is needed."""
    bench = Bench()
    assert [] == bench.attempts
    _, guest = bench.ask()
    upstream, transport = bench.connect(0)
    assert transport.value().startswith(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    upstream.dataReceived(HELLO)
    assert HELLO == guest.value()


def test_held_requests_knock_once_each_half_second_whatever_their_number() -> None:
    """Ten held guests are one connection attempt at a time."""
    bench = Bench(hold_time=8.0)
    asked = [bench.ask(f"169.254.64.{n}") for n in range(2, 12)]
    for number in range(len(bench.attempts)):
        bench.refuse(number)
    before = len(bench.attempts)
    bench.advance(RETRY_SECONDS)
    assert before + 1 == len(bench.attempts)
    bench.refuse(before)
    bench.advance(RETRY_SECONDS)
    assert before + 2 == len(bench.attempts)
    upstream, transport = bench.connect(before + 1)
    assert 1 == transport.value().count(b"GET ")
    upstream.dataReceived(HELLO)
    assert [HELLO] == [guest.value() for _, guest in asked if guest.value()]


def test_hold_ends_with_503() -> None:
    """Exactly when the configured time is up, give or take a tick."""
    bench = Bench(hold_time=2.0)
    _, guest = bench.ask()
    bench.refuse(0)
    bench.advance(1.75)
    assert b"" == guest.value()
    bench.advance(0.5)
    assert guest.value().startswith(b"HTTP/1.1 503 ")
    assert 0 == bench.proxy.snapshot().waiting


@pytest.mark.parametrize(
    ("number", "status"), [(-1, b""), (0, b""), (1, b"HTTP/1.1 503 ")]
)
def test_one_guest_may_hold_so_many(number: int, status: bytes) -> None:
    """One more than the ceiling is refused at once; another guest still waits."""
    bench = Bench(max_guest_requests=40)
    asked = [bench.ask() for _ in range(40 + number)]
    assert status == asked[-1][1].value()[:13]
    _, other = bench.ask("169.254.64.3")
    assert b"" == other.value()


def test_so_many_requests_are_held_for_all_guests_together() -> None:
    """n-1, n, n+1, each of another guest: one more than the ceiling is refused at once,
    and has room when one of those that wait has gone.
    """
    bench = Bench(hold_time=8.0)
    peers = (f"169.254.{64 + n // 250}.{n % 250 + 2}" for n in range(2 * MAX_WAITING))
    asked = [bench.ask(next(peers)) for _ in range(MAX_WAITING)]
    assert [b""] * MAX_WAITING == [transport.value() for _, transport in asked]
    assert MAX_WAITING == bench.proxy.snapshot().waiting
    refused = bench.ask(next(peers))[1].value()
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert MAX_WAITING == bench.proxy.snapshot().waiting
    asked[0][0].connectionLost(Failure(ConnectionDone()))
    assert b"" == bench.ask(next(peers))[1].value()
    assert MAX_WAITING == bench.proxy.snapshot().waiting


def test_a_request_that_met_a_stale_connection_gets_a_new_one() -> None:
    """Not the next one of the pool, which may have gone stale in the same moment: it
    would fail again and again, as often as there are pooled connections.
    """
    bench = Bench()
    for peer in ("169.254.64.2", "169.254.64.3"):
        bench.ask(peer)
    pooled = [bench.connect(number) for number in (0, 1)]
    for upstream, transport in pooled:
        upstream.dataReceived(HELLO)
        transport.clear()
    _, guest = bench.ask("169.254.64.4")
    assert 2 == len(bench.attempts), "a pooled connection is used"
    [stale] = [one for one in pooled if one[1].value()]
    [other] = [one for one in pooled if one is not stale]
    stale[0].connectionLost(Failure(ConnectionDone()))
    assert b"" == other[1].value()
    assert 3 == len(bench.attempts)
    upstream, transport = bench.connect(2)
    assert 1 == transport.value().count(b"GET ")
    upstream.dataReceived(HELLO)
    assert HELLO == guest.value()


def test_connections_to_an_endpoint_are_bounded() -> None:
    """Above the ceiling requests wait for a connection that is freed."""
    bench = Bench()
    bench.fill()
    bench.ask()
    assert MAX_UPSTREAM_CONNECTIONS == len(bench.attempts)
    assert (MAX_UPSTREAM_CONNECTIONS, 1) == (
        bench.proxy.snapshot().in_flight,
        bench.proxy.snapshot().waiting,
    )


def test_what_is_never_sent_twice_gets_a_new_connection_among_busy_ones() -> None:
    """Where every connection is busy, one that is freed makes room for a new one: the
    request waits its turn, not for its time to be up.
    """
    bench = Bench()
    (upstream, transport), *others = bench.fill()
    _, guest = bench.ask(head=ONCE)
    bench.ask("169.254.200.2")
    upstream.dataReceived(HELLO)
    assert transport.disconnecting
    busy, busy_transport = others[0]
    busy.dataReceived(HELLO)
    assert not busy_transport.disconnecting, "one request makes room once"
    assert 2 == busy_transport.value().count(b"GET "), "others go on meanwhile"
    upstream.connectionLost(Failure(ConnectionDone()))
    assert MAX_UPSTREAM_CONNECTIONS + 1 == len(bench.attempts)
    fresh, fresh_transport = bench.connect(MAX_UPSTREAM_CONNECTIONS)
    assert b"vendor_data2.json" in fresh_transport.value()
    fresh.dataReceived(HELLO)
    assert HELLO == guest.value()
    assert 0 == bench.proxy.snapshot().waiting


def test_refused_endpoint_is_left_for_the_other() -> None:
    """A waiting request moves on at once; the dead one is tried with growing pauses."""
    bench = Bench("127.0.0.1", "127.0.0.2")
    _, guest = bench.ask()
    dead = bench.attempts[0]
    bench.refuse(0)
    assert {"127.0.0.1", "127.0.0.2"} == set(bench.attempts)
    upstream, _ = bench.connect(1)
    upstream.dataReceived(HELLO)
    assert HELLO == guest.value()
    assert ["DOWN", "UP"] == sorted(bench.states())
    for number in range(2, 6):
        bench.advance(8.0)
        assert dead == bench.attempts[number]
        bench.refuse(number)
    assert len(bench.attempts) < 10


def test_endpoint_that_comes_back_is_used_again() -> None:
    """A knock that succeeds, then a reply, make it UP."""
    bench = Bench()
    bench.ask()
    bench.refuse(0)
    assert ["DOWN"] == bench.states()
    bench.advance(RETRY_SECONDS)
    upstream, _ = bench.connect(1)
    assert ["SUSPECT"] == bench.states()
    upstream.dataReceived(HELLO)
    assert ["UP"] == bench.states()
    texts = [event.text() for event in bench.events if event.level]
    assert 2 == len(texts)


def test_removed_service_answers_what_waits() -> None:
    """No request is held for a service that is gone."""
    bench = Bench()
    _, guest = bench.ask()
    bench.proxy.set_target(None)
    assert guest.value().startswith(b"HTTP/1.1 503 ")


def test_connect_deadline_covers_the_whole_attempt() -> None:
    """A connection that never gets ready is given up and counted as a failure."""
    bench = Bench(connect_timeout=1.0)
    bench.ask()
    bench.advance(1.25)
    assert ["DOWN"] == bench.states()


INTERVAL = 10
PROBE = b"GET / HTTP/1.1\r\nHost: 127.0.0.%d\r\nUser-Agent: vagent-probe\r\n\r\n"


def probes(bench: Bench) -> list[str]:
    """What became of them."""
    return [
        one.label() for one in bench.events if isinstance(one, UpstreamEndpointProbed)
    ]


def probe_state(bench: Bench, number: int = 0) -> str:
    return bench.proxy.snapshot().endpoints[number].probed


def test_no_probe_unless_wanted() -> None:
    """Off by default: an idle agent does not talk."""
    bench = Bench()
    bench.advance(60)
    assert [] == bench.attempts


def test_every_endpoint_is_probed_in_rounds_without_identity() -> None:
    """Nothing of a guest and no secret is in a probe; its connection is then used."""
    bench = Bench("127.0.0.1", "127.0.0.2", probe_interval=INTERVAL)
    bench.advance(0.25)
    for number in (0, 1):
        upstream, transport = bench.connect(number)
        assert PROBE % (number + 1) == transport.value()
        upstream.dataReceived(HELLO)
    assert ["answered"] * 2 == probes(bench)
    assert ["UP"] * 2 == bench.states()
    bench.ask()
    assert 2 == len(bench.attempts)
    bench.advance(INTERVAL)
    assert 4 == len(bench.attempts)
    assert "answered 10 s ago" == probe_state(bench)


def test_a_dead_endpoint_is_known_before_a_guest_finds_it() -> None:
    """Nobody waits for the connect that fails."""
    bench = Bench("127.0.0.1", "127.0.0.2", probe_interval=INTERVAL)
    bench.advance(0.25)
    bench.refuse(0)
    bench.connect(1)[0].dataReceived(HELLO)
    assert ["DOWN", "UP"] == bench.states()
    assert 1 == bench.proxy.endpoints_up()
    assert ["failed", "answered"] == probes(bench)
    for peer in ("169.254.64.2", "169.254.64.3"):
        bench.ask(peer)
    assert "127.0.0.1" not in bench.attempts[2:]


@pytest.mark.parametrize("status", [404, 403, 200])
def test_any_answer_is_an_answer(status: int) -> None:
    """The upstream may not be Nova itself."""
    bench = Bench(probe_interval=INTERVAL)
    bench.advance(0.25)
    head = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status
    bench.connect(0)[0].dataReceived(head)
    assert (["answered"], ["UP"]) == (probes(bench), bench.states())


@pytest.mark.parametrize("status", [500, 503])
def test_a_probe_s_server_error_is_the_endpoint_s_fault(status: int) -> None:
    """Nothing about the request can have caused it; the other endpoint goes first."""
    bench = Bench("127.0.0.1", "127.0.0.2", probe_interval=INTERVAL)
    bench.advance(0.25)
    head = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status
    bench.connect(0)[0].dataReceived(head)
    bench.connect(1)
    assert ["SUSPECT", "UP"] == bench.states()
    assert f"status {status} 0 s ago" == probe_state(bench)


def test_a_probe_that_hangs_brings_no_others() -> None:
    """One at a time for each endpoint; it ends with the response timeout."""
    bench = Bench(probe_interval=1, response_timeout=5.0)
    bench.advance(0.25)
    bench.connect(0)
    bench.advance(4)
    assert 1 == len(bench.attempts)
    bench.advance(2.5)
    assert ["failed"] == probes(bench)
    assert ["SUSPECT"] == bench.states()
    assert 2 == len(bench.attempts)


def test_a_probe_proves_that_an_endpoint_is_well_again() -> None:
    """A connect alone is not believed (TLS 1.3); an answer is."""
    bench = Bench(probe_interval=INTERVAL)
    bench.advance(0.25)
    bench.refuse(0)
    assert ["DOWN"] == bench.states()
    bench.advance(0.75)
    bench.connect(len(bench.attempts) - 1)
    assert ["SUSPECT"] == bench.states()
    bench.advance(INTERVAL)
    bench.connect(len(bench.attempts) - 1)[0].dataReceived(HELLO)
    assert ["UP"] == bench.states()


def test_stop_ends_probes() -> None:
    """So does a service that is removed; with a new one they begin again."""
    bench = Bench(probe_interval=INTERVAL)
    bench.use()
    bench.advance(INTERVAL)
    assert [] == bench.attempts
    bench.use("127.0.0.3")
    bench.advance(0.25)
    assert ["127.0.0.3"] == bench.attempts
    stopped = Deferred.fromCoroutine(bench.proxy.stop())
    bench.refuse(0)
    assert stopped.called
    assert [] == bench.reactor.getDelayedCalls()


def test_stop_leaves_nothing() -> None:
    """No timer, no waiting request, no attempt, no connection."""
    bench = Bench("127.0.0.1", "127.0.0.2")
    guests = [bench.ask(f"169.254.64.{n}")[0] for n in (2, 3)]
    upstream, _ = bench.connect(0)
    stopped: list[None] = []
    Deferred.fromCoroutine(bench.proxy.stop()).addCallback(stopped.append)
    assert [] == stopped
    for guest in guests:
        guest.connectionLost(Failure(ConnectionDone()))
    upstream.connectionLost(Failure(ConnectionDone()))
    for number in range(1, len(bench.attempts)):
        bench.refuse(number)
    assert [None] == stopped
    assert [] == bench.reactor.getDelayedCalls()
    assert 0 == bench.proxy.snapshot().waiting
