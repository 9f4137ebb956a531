"""The agent's own checks: whom, how often, how many at once."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.internet.testing import (
    MemoryReactorClock,
    StringTransportWithDisconnection,
)
from twisted.python.failure import Failure

from vagent.config.model import EndpointCheckConfig
from vagent.datapath.endpoints.active_check import (
    MAX_AT_ONCE,
    EndpointChecks,
    connector,
)
from vagent.datapath.state import NatEndpoint, Services
from vagent.linklocal.service import LinkLocalService

if TYPE_CHECKING:
    from vagent.datapath.names import Names

INTERVAL = 5.0


class Bench:
    """Connections are answered by the test."""

    def __init__(self, names: Names, *services: str) -> None:
        self.names = names
        self.clock = Clock()
        self.open: list[tuple[NatEndpoint, Deferred[None]]] = []
        self.outcomes: list[tuple[int, bool]] = []
        self.checks = EndpointChecks(
            EndpointCheckConfig(services=services, interval=INTERVAL),
            connect=self.connect,
            checked=self.checked,
            clock=self.clock,
        )

    def connect(self, endpoint: NatEndpoint, timeout: float) -> Deferred[None]:
        assert EndpointCheckConfig().timeout == timeout
        connection: Deferred[None] = Deferred()
        self.open.append((endpoint, connection))
        return connection

    def checked(self, number: int, *, passed: bool, why: str) -> None:
        assert bool(why) is not passed
        self.outcomes.append((number, passed))

    def offer(self, *services: LinkLocalService) -> Services:
        offered = Services.of(services, self.names, None)
        self.checks.follow(offered)
        return offered

    def answer(self, *, passed: bool) -> None:
        under_way, self.open = self.open, []
        for _, connection in under_way:
            if passed:
                connection.callback(None)
            else:
                connection.errback(Refused())

    def targets(self) -> set[str]:
        return {str(endpoint.address) for endpoint, _ in self.open}


def test_nothing_is_checked_by_default(names: Names, dns: LinkLocalService) -> None:
    """Connections are made only where agent.conf asks for them."""
    bench = Bench(names)
    bench.offer(dns)
    bench.checks.start()
    bench.clock.pump([INTERVAL] * 3)
    assert [] == bench.open
    bench.checks.stop()


@pytest.mark.parametrize("wanted", ["dns", "*"])
def test_the_endpoints_of_named_services_are_checked(
    names: Names, dns: LinkLocalService, metadata: LinkLocalService, wanted: str
) -> None:
    """Every interval; the metadata listener is the agent itself."""
    bench = Bench(names, wanted)
    bench.offer(dns, metadata)
    bench.checks.start()
    for passed in (True, False):
        assert {"192.0.2.53", "192.0.2.54"} == bench.targets()
        bench.answer(passed=passed)
        bench.clock.advance(INTERVAL)
    assert {(2, True), (2, False), (3, True), (3, False)} == set(bench.outcomes)
    bench.checks.stop()


def test_other_services_are_not_checked(names: Names, dns: LinkLocalService) -> None:
    """Not even when a check is on."""
    bench = Bench(names, "repository")
    bench.offer(dns)
    bench.checks.start()
    assert [] == bench.open
    bench.checks.stop()


def test_a_ceiling_on_connections_at_once(names: Names) -> None:
    """The rest waits for its turn; a round that takes long delays the next."""
    bench = Bench(names, "*")
    services = [
        LinkLocalService(
            f"s{n}",
            IPv4Address("169.254.1.7"),
            n,
            tuple(IPv4Address(f"192.0.2.{e}") for e in range(1, 51)),
            n,
        )
        for n in range(1, 4)
    ]
    bench.offer(*services)
    bench.checks.start()
    rounds = []
    while bench.open:
        rounds.append(len(bench.open))
        bench.clock.advance(INTERVAL)
        bench.answer(passed=True)
    assert 150 == len(bench.outcomes) == sum(rounds)
    assert MAX_AT_ONCE == max(rounds)
    bench.checks.stop()


def test_what_is_gone_is_not_reported(names: Names, dns: LinkLocalService) -> None:
    """Nor connected to any more."""
    bench = Bench(names, "*")
    bench.offer(dns)
    bench.checks.start()
    bench.offer()
    bench.answer(passed=False)
    bench.clock.advance(INTERVAL)
    assert ([], []) == (bench.open, bench.outcomes)
    bench.checks.stop()


def test_the_end_takes_connections_with_it(names: Names, dns: LinkLocalService) -> None:
    """Nothing is reported, nothing is left."""
    bench = Bench(names, "*")
    bench.offer(dns)
    bench.checks.start()
    connections = [connection for _, connection in bench.open]
    bench.checks.stop()
    assert all(connection.called for connection in connections)
    assert [] == bench.outcomes
    assert [] == bench.clock.getDelayedCalls()


@pytest.mark.parametrize(
    "address", [IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")]
)
def test_a_real_connection_goes_to_the_endpoint_and_nowhere_else(
    address: IPv4Address | IPv6Address,
) -> None:
    """With the deadline that it was given."""
    reactor = MemoryReactorClock()
    attempt = connector(reactor)(NatEndpoint(2, address, 7), 1.5)
    ((host, port, factory, timeout, _),) = reactor.tcpClients
    assert (str(address), 7, 1.5) == (host, port, timeout)
    protocol: Any = factory.buildProtocol(None)
    transport = StringTransportWithDisconnection()
    transport.protocol = protocol
    protocol.makeConnection(transport)
    assert attempt.called
    assert transport.disconnecting or not transport.connected
    assert b"" == transport.value()


def test_a_failed_connection_is_told_why() -> None:
    """And one that nobody waits for any more is nobody's error."""
    reactor = MemoryReactorClock()
    failures: list[str] = []
    attempts = [
        connector(reactor)(NatEndpoint(2, IPv4Address("192.0.2.1"), 7), 1.5)
        for _ in range(2)
    ]
    attempts[1].cancel()
    for attempt, client in zip(attempts, reactor.tcpClients, strict=True):
        attempt.addBoth(lambda failure: failures.append(failure.type.__name__))
        factory: Any = client[2]
        factory.clientConnectionFailed(None, Failure(Refused()))
    assert ["ConnectionRefusedError", "CancelledError"] == failures
