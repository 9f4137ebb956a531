"""Promises of vagent.metadata.upstream.resolver."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest
from twisted.internet.address import IPv4Address as Address
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from vagent.linklocal.own_servers import LOOPBACK, OwnServer, OwnServers
from vagent.metadata.upstream.events import UpstreamNotUsed
from vagent.metadata.upstream.resolver import ReactorWithout
from vagent.observe.event import Event
from vagent.transport.without_pyopenssl import without_pyopenssl

with without_pyopenssl():
    from twisted.internet.endpoints import HostnameEndpoint

OWN = OwnServers(
    [
        OwnServer("the config API", LOOPBACK, 8082),
        OwnServer("the embedded server", LOOPBACK, 8775, answers_metadata=True),
    ],
    identities=[IPv4Network("169.254.64.0/18")],
)


@implementer(IHostnameResolver)
class Resolver:
    """Answers at once with these addresses."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts

    def resolveHostName(
        self,
        resolutionReceiver: Any,  # noqa: N803
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        *_more: Any,
    ) -> Any:
        resolutionReceiver.resolutionBegan(self)
        for host in self.hosts:
            resolutionReceiver.addressResolved(Address("TCP", host, portNumber))
        resolutionReceiver.resolutionComplete()
        return self


def connect(port: int, *hosts: str) -> tuple[list[str], list[Any], list[Event]]:
    """Where a connection to nova.example goes, with what failure and events."""
    memory: Any = MemoryReactorClock()
    memory.nameResolver = Resolver(*hosts)
    events: list[Event] = []
    reactor = ReactorWithout(memory, OWN, events.append)
    endpoint = HostnameEndpoint(reactor, b"nova.example", port)
    failures: list[Any] = []
    attempt = endpoint.connect(Factory.forProtocol(Protocol))
    attempt.addErrback(lambda failed: failures.append(failed.value))
    return [client[0] for client in memory.tcpClients], failures, events


def test_a_name_that_is_an_own_server_is_not_used() -> None:
    """And it is said; other addresses of the name are used."""
    hosts, failures, (event,) = connect(8082, "127.0.0.1", "10.0.0.5")
    assert (["10.0.0.5"], []) == (hosts, failures)
    assert isinstance(event, UpstreamNotUsed)
    assert (
        "nova.example is 127.0.0.1 port 8082, which is not used: it is the config API"
        in event.text()
    )


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("0.0.0.0", "it is the config API of the agent itself"),
        ("::ffff:127.0.0.1", "it is the config API of the agent itself"),
        ("255.255.255.255", "it is not a unicast address"),
        ("224.0.0.5", "it is not a unicast address"),
        ("169.254.64.2", "it is in the range of the guests' identities"),
    ],
)
def test_an_address_where_no_server_can_be_is_not_used(host: str, why: str) -> None:
    """And it is said why; others are used."""
    hosts, failures, (event,) = connect(8082, host, "10.0.0.5")
    assert (["10.0.0.5"], []) == (hosts, failures)
    assert f"{host} port 8082, which is not used: {why}" in event.text()


def test_a_name_without_another_address_has_none() -> None:
    """As one that does not resolve."""
    hosts, (failure,), _ = connect(8082, "127.0.0.1")
    assert [] == hosts
    assert isinstance(failure, DNSLookupError)


@pytest.mark.parametrize("port", [8775, 80])
def test_everything_else_is_as_before(port: int) -> None:
    """The embedded server is where metadata may come from."""
    assert (["127.0.0.1"], [], []) == connect(port, "127.0.0.1")


def test_nobody_installs_a_resolver_here() -> None:
    """It is the reactor's own that is asked."""
    memory: Any = MemoryReactorClock()
    memory.nameResolver = Resolver()
    with pytest.raises(NotImplementedError):
        ReactorWithout(memory, OWN, lambda _event: None).installNameResolver(Resolver())
