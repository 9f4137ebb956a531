"""A proxy in memory whose upstream connections succeed or fail as a test says."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address
from itertools import count
from typing import Any

from twisted.internet.address import IPv4Address as PeerAddress
from twisted.internet.error import ConnectError
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from vagent.config.model import MetadataProxyConfig, Secret
from vagent.metadata.limits import (
    MAX_UPSTREAM_CONNECTIONS,
)
from vagent.metadata.proxy import MetadataProxy
from vagent.metadata.upstream.target import HostPort, Target
from vagent.observe.event import Event
from vagent.ports.port import Port, Registration
from vagent.transport.deadlines import TICK_SECONDS

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ONCE = b"GET /openstack/latest/vendor_data2.json HTTP/1.1\r\nHost: a\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
PORT = Port("p", "i", "t", "", "", "tap", "", IPv4Address("10.0.0.3"), None)
REGISTRATION = Registration(PORT, 2, IPv4Address("169.254.64.2"))


@cache
def registered(source: str) -> Registration:
    """Each source is another port's, and another instance's."""
    port = replace(PORT, id=f"port of {source}", instance_id=f"instance of {source}")
    return replace(REGISTRATION, port=port)


class Transport(StringTransport):
    """StringTransport with what TCP adds. `unread`: something waits in the socket."""

    unread = False

    def has_unread(self) -> bool:
        """See `wire.has_unread`."""
        return self.unread

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Accepted."""

    def loseWriteConnection(self) -> None:
        """Accepted."""


class Rig:
    """A proxy whose upstream connections succeed or fail when a test says so."""

    def __init__(self, *hosts: str, **changes: Any) -> None:
        self.reactor = MemoryReactorClock()
        self.events: list[Event] = []
        self.proxy = MetadataProxy(
            MetadataProxyConfig(shared_secret=Secret(b"s"), cache_ttl=0.0, **changes),
            identify=registered,
            emit=self.events.append,
            reactor=self.reactor,
            request_ids=count(1),
            date=bytes,
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
        return [one.state.name for one in self.proxy.snapshot().endpoints]
