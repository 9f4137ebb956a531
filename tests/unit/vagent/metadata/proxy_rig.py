"""The proxy in memory: fake transports on both sides, a fake clock."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address
from itertools import count
from typing import Any

from twisted.internet.address import IPv4Address as PeerAddress
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from vagent.config.model import MetadataProxyConfig, Secret
from vagent.metadata.events import RESPONSES
from vagent.metadata.guest.connection import DownstreamConnection
from vagent.metadata.proxy import MetadataProxy
from vagent.metadata.upstream.connection import UpstreamConnection
from vagent.metadata.upstream.target import HostPort, Target
from vagent.observe.event import Event
from vagent.ports.port import Port, Registration
from vagent.transport.deadlines import TICK_SECONDS

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
PORT = Port("p", "i", "t", "", "", "tap", "", IPv4Address("10.0.0.3"), None)
REGISTRATION = Registration(PORT, 2, IPv4Address("169.254.64.2"))


class FakeTransport:
    """A TCP transport whose kernel buffer takes `room` bytes, then blocks."""

    def __init__(self, peer: str = "169.254.64.2") -> None:
        self.sent = b""
        self.room = 1 << 30
        self.pending = b""
        self.producer: Any = None
        self.protocol: Any = None
        self.state = "open"
        self.reading = "on"
        self.bufferSize = 65536
        self._peer = peer
        self.family = socket.AF_INET
        self.opening = b""
        self.unread = b""
        self.options: list[tuple[int, int, int]] = []

    def getPeer(self) -> PeerAddress:
        return PeerAddress("TCP", self._peer, 40000)

    def getHost(self) -> PeerAddress:
        return PeerAddress("TCP", "169.254.0.1", 80)

    def setTcpNoDelay(self, enabled: bool) -> None:
        assert enabled

    def getHandle(self) -> FakeTransport:
        return self

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (socket.IPPROTO_TCP, 28) == (level, option)
        taken, self.opening = self.opening[:size], b""
        return taken

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options.append((level, option, value))

    def send(self, data: bytes) -> int:
        assert not self.pending
        if not self.room:
            raise BlockingIOError
        taken = data[: self.room]
        self.room -= len(taken)
        self.sent += taken
        return len(taken)

    def recv(self, size: int, flags: int) -> bytes:
        assert socket.MSG_PEEK | socket.MSG_DONTWAIT == flags
        if not self.unread:
            raise BlockingIOError
        return self.unread[:size]

    def write(self, data: bytes) -> None:
        self.pending += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert not streaming
        self.producer = producer
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None

    def drain(self) -> None:
        self.room = 1 << 30
        self.sent += self.pending
        self.pending = b""
        if self.producer is not None:
            self.producer.resumeProducing()

    def pauseProducing(self) -> None:
        self.reading = "paused"

    def resumeProducing(self) -> None:
        self.reading = "on"

    def connectionLost(self, reason: Failure) -> None:
        assert not self.pending
        self.state = "closed"
        self.protocol.connectionLost(reason)

    def loseConnection(self) -> None:
        self.state = "closing"

    def loseWriteConnection(self) -> None:
        self.state = "half-closed"

    def abortConnection(self) -> None:
        self.state = "aborted"

    def take(self) -> bytes:
        taken, self.sent = self.sent, b""
        return taken


class Rig:
    """A proxy with one endpoint and one pooled connection to it, all in memory."""

    def __init__(self, *, date: Any = bytes, **changes: Any) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.registration: Registration | None = REGISTRATION
        changes = {"cache_ttl": 0.0, **changes}
        config = MetadataProxyConfig(shared_secret=Secret(b"s"), **changes)
        self.proxy = MetadataProxy(
            config,
            identify=lambda _: self.registration,
            emit=self.events.append,
            reactor=ConnectingClock(self),
            request_ids=count(1),
            date=date,
        )
        self.upstreams: list[FakeTransport] = []
        self.connections: list[UpstreamConnection] = []
        self.proxy.set_target(Target((HostPort("127.0.0.1", 8775),), ""))

    def guest(
        self, peer: str = "169.254.64.2"
    ) -> tuple[DownstreamConnection, FakeTransport]:
        transport = FakeTransport(peer)
        guest: Any = self.proxy.factory.buildProtocol(transport.getPeer())
        assert isinstance(guest, DownstreamConnection)
        transport.protocol = guest
        guest.makeConnection(transport)
        return guest, transport

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_SECONDS)):
            self.clock.advance(TICK_SECONDS)

    def labels(self) -> list[str]:
        """Of what happened; that responses are counted by status is left out."""
        return [
            event.label()
            for event in self.events
            if event.label() and event.counter is not RESPONSES
        ]


class ConnectingClock:
    """A reactor of time and of connections that succeed at once."""

    def __init__(self, rig: Rig) -> None:
        self._bench = rig
        self.seconds = rig.clock.seconds
        self.callLater = rig.clock.callLater

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float) -> Any:
        transport = FakeTransport()
        protocol = factory.buildProtocol(None)
        self._bench.upstreams.append(transport)
        self._bench.connections.append(protocol)

        class Connector:
            disconnect: Callable[[], None] = transport.abortConnection

        protocol.makeConnection(transport)
        return Connector
