"""The metadata proxy on real sockets: a reactor in a thread, functions as upstreams.

Guests are loopback source addresses, so that test code is plain blocking sockets.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from itertools import count
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from vagent.config.model import MetadataProxyConfig, Secret
from vagent.metadata.events import RESPONSES
from vagent.metadata.proxy import MetadataProxy
from vagent.metadata.snapshot import ProxySnapshot
from vagent.metadata.upstream.target import HostPort, Target
from vagent.observe.event import Event
from vagent.ports.port import Port, Registration
from vagent.transport.reactor import QuietEpollReactor

INSTANCE = "32d0524b-314d-4594-b3a3-607e3f2354f8"
SIGNATURE = "6bcbe3885ae7efc49cef35b438efe29c95501f4a720a0c53ed000d8fcf04a605"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET /latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"
CLOSE = GET[:-2] + b"Connection: close\r\n\r\n"

Serve = Callable[[socket.socket, int], None]


def registration(number: int, instance: str = INSTANCE) -> Registration:
    port = Port(
        id=f"port-{number}",
        instance_id=instance,
        tenant_id="7e0000000000400080000000000000aa",
        network_id="",
        display_name="",
        tap=f"tap{number}",
        mac="02:00:00:00:00:01",
        address=IPv4Address("10.0.0.3"),
        address6=None,
    )
    return Registration(port, number, IPv4Address(f"127.0.0.{number}"))


class Upstream:
    """A TCP (or TLS) server whose every connection is served by a given function."""

    def __init__(self, serve: Serve, context: ssl.SSLContext | None = None) -> None:
        self._serve = serve
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.accepted = 0
        self.heads: list[bytes] = []
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.append(connection)
            number = self.accepted
            threading.Thread(
                target=self._guarded, args=(connection, number), daemon=True
            ).start()

    def _guarded(self, connection: socket.socket, number: int) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                self._serve(connection, number)
        except OSError:
            pass

    def close(self) -> None:
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for connection in self._open:
            connection.close()


def read_head(connection: socket.socket) -> bytes:
    """A head and whatever came with it; b"" at the end of input."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    return data


def always(reply: bytes, heads: list[bytes] | None = None) -> Serve:
    """Keep-alive: this reply to every request."""

    def serve(connection: socket.socket, number: int) -> None:
        while head := read_head(connection):
            if heads is not None:
                heads.append(head)
            connection.sendall(reply)

    return serve


def once(reply: bytes) -> Serve:
    """This reply to the first request, then close."""

    def serve(connection: socket.socket, number: int) -> None:
        read_head(connection)
        connection.sendall(reply)

    return serve


def silent(connection: socket.socket, number: int) -> None:
    """Read, and never answer."""
    while connection.recv(65536):
        pass


@dataclass
class Running:
    """A proxy on the reactor's thread."""

    reactor: Any
    proxy: MetadataProxy
    events: list[Event]
    guests: dict[str, Registration]
    port: int = 0
    listener: Any = None
    sockets: list[socket.socket] = field(default_factory=list)

    def call(self, function: Callable[[], Any]) -> Any:
        done = threading.Event()
        result: list[Any] = []

        def finish(value: Any) -> None:
            result.append(value)
            done.set()

        def begin() -> None:
            try:
                value = function()
            except Exception as error:
                finish(error)
                return
            if isinstance(value, Deferred):
                value.addBoth(finish)
            else:
                finish(value)

        self.reactor.callFromThread(begin)
        assert done.wait(10)
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]

    def close(self) -> tuple[int, int, int]:
        """Close everything. What is left: connections, requests in flight, waiting."""
        try:
            self.call(self.listener.stopListening)
            self.call(self.stop)
        finally:
            for one in self.sockets:
                one.close()
        left = self.snapshot()
        return left.connections, left.requests_in_flight, left.requests_waiting

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.proxy.stop())

    def target(self, *ports: int, host: str = "127.0.0.1", name: str = "") -> None:
        endpoints = tuple(HostPort(host, port) for port in ports)
        self.call(lambda: self.proxy.set_target(Target(endpoints, name)))

    def snapshot(self) -> ProxySnapshot:
        result = self.call(self.proxy.snapshot)
        assert isinstance(result, ProxySnapshot)
        return result

    def connect(self, guest: int = 2, timeout: float = 10.0) -> socket.socket:
        one = socket.create_connection(
            ("127.0.0.1", self.port), timeout, source_address=(f"127.0.0.{guest}", 0)
        )
        self.sockets.append(one)
        return one

    def ask(self, request: bytes, guest: int = 2) -> bytes:
        """Send; everything until the proxy closes."""
        one = self.connect(guest)
        one.sendall(request)
        return read_all(one)

    def labels(self) -> list[str]:
        """Of what happened; that responses are counted by status is left out."""
        return [
            event.label()
            for event in self.events
            if event.label() and event.counter is not RESPONSES
        ]


def read_all(one: socket.socket) -> bytes:
    data = b""
    while piece := one.recv(65536):
        data += piece
    return data


def status_of(reply: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", reply)
    assert found is not None, reply[:200]
    return int(found[1])


Start = Callable[..., Running]
Serving = Callable[..., Upstream]


@pytest.fixture(scope="module")
def reactor() -> Iterator[Any]:
    """A reactor of our own, in a thread."""
    made: Any = QuietEpollReactor()
    thread = threading.Thread(
        target=made.run, kwargs={"installSignalHandlers": False}, daemon=True
    )
    thread.start()
    yield made
    made.callFromThread(made.stop)
    thread.join(10)


@pytest.fixture
def start(reactor: Any) -> Iterator[Start]:
    """`start(**config)` starts a proxy; in the end all must be closed and forgotten.

    What is looked at then is looked at when everything has been closed, so one proxy
    that fails a test leaves nothing to the next.
    """
    started: list[Running] = []

    def begin(**changes: Any) -> Running:
        config = MetadataProxyConfig(
            shared_secret=Secret(b"deadbeef2eb84d8d"),
            connect_timeout=1.0,
            response_timeout=2.0,
            hold_time=1.5,
            cache_ttl=0.0,
        )
        events: list[Event] = []
        guests = {f"127.0.0.{n}": registration(n) for n in (2, 3)}
        proxy = MetadataProxy(
            replace(config, **changes),
            identify=guests.get,
            emit=events.append,
            reactor=reactor,
            request_ids=count(1),
            date=bytes,
        )
        running = Running(reactor, proxy, events, guests)
        running.listener = running.call(
            lambda: reactor.listenTCP(0, proxy.factory, interface="127.0.0.1")
        )
        running.port = running.listener.getHost().port
        started.append(running)
        return running

    yield begin
    left: list[tuple[int, int, int]] = []

    def left_by(running: Running) -> None:
        left.append(running.close())

    with ExitStack() as closing:
        for running in started:
            closing.callback(left_by, running)
    assert [(0, 0, 0)] * len(started) == left
    assert [] == started[0].call(lambda: [str(c) for c in reactor.getDelayedCalls()])


@pytest.fixture
def upstream() -> Iterator[Serving]:
    """`upstream(serve, context)` starts one."""
    made: list[Upstream] = []

    def begin(serve: Serve, context: ssl.SSLContext | None = None) -> Upstream:
        made.append(Upstream(serve, context))
        return made[-1]

    yield begin
    for one in made:
        one.close()
