"""Promises of vagent.ports.server and api: Contrail's port REST API, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from vagent.errors import StoreError
from vagent.observe.event import Event
from vagent.ports.api import MAX_BODY, PART
from vagent.ports.events import PortRequestRefused
from vagent.ports.port import Registration
from vagent.ports.registrar import STALE_AFTER, Registrar
from vagent.ports.registry import PortRegistry
from vagent.ports.server import (
    IDLE_TIMEOUT,
    MAX_CONNECTIONS,
    MAX_DISCARDED,
    is_local_name,
    port_api_site,
)

Make = Callable[..., Any]
UUID = "93c2c386-6e79-485e-bfa4-b9daa713133b"
UNKNOWN = b'{"error":"Unknown Request"}'


class NoJournal:
    """Remembers nothing; refuses if told to."""

    directory = Path("/state/ports")
    refusal: StoreError | None = None

    async def write(self, registrations: Sequence[Registration]) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def delete(self, port_ids: Iterable[str]) -> None:
        pass


class Server:
    """The site over a transport in memory."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.journal = NoJournal()
        self.kernel: Deferred[None] | None = None
        self.registry = PortRegistry(
            IPv4Network("169.254.64.0/18"), emit=self.events.append
        )
        self.registrar = Registrar(
            self.registry,
            self.journal,  # type: ignore[arg-type]  # same methods
            settle=self.settle,
            emit=self.events.append,
            clock=self.clock,
        )
        self.site = port_api_site(
            self.registrar,
            emit=self.events.append,
            clock=self.clock,
            now=self.clock.seconds,
        )
        self.site.doStart()

    async def settle(self) -> None:
        if self.kernel is not None:
            await self.kernel

    def connect(self) -> tuple[Any, StringTransport]:
        channel = self.site.buildProtocol(None)
        transport = StringTransport()
        channel.makeConnection(transport)
        return channel, transport

    def send(self, data: bytes) -> bytes:
        channel, transport = self.connect()
        channel.dataReceived(data)
        self.clock.pump([0] * 100)
        channel.connectionLost(Failure(ConnectionDone()))
        return bytes(transport.value())

    def ask(self, method: str, path: str, body: bytes = b"", head: str = "") -> Any:
        """The status line and the body of a reply."""
        text = self.send(request(method, path, body, head))
        top, _, rest = text.partition(b"\r\n\r\n")
        lines = top.split(b"\r\n")
        if b"Content-Type: application/json; charset=UTF-8" not in lines:
            raise AssertionError(lines)
        return lines[0], rest

    def post(self, value: Any) -> Any:
        return self.ask("POST", "/port", json.dumps(value).encode())

    def refused(self) -> list[PortRequestRefused]:
        return [e for e in self.events if isinstance(e, PortRequestRefused)]


def request(method: str, path: str, body: bytes = b"", head: str = "") -> bytes:
    host = "" if "Host:" in head else "Host: localhost:9091\r\n"
    length = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
    return f"{method} {path} HTTP/1.1\r\n{host}{head}{length}\r\n".encode() + body


@pytest.fixture
def server() -> Server:
    """A fresh one."""
    return Server()


OK = b"HTTP/1.1 200 OK"
ERROR = b"HTTP/1.1 500 OK"


def test_a_whole_reply_is_contrails(server: Server, body: Make) -> None:
    """Status line, Content-Type, Content-Length, body: nothing else."""
    data = request("POST", "/port", json.dumps(body()).encode())
    assert server.send(data) == (
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Type: application/json; charset=UTF-8\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )


def test_add_show_delete(server: Server, body: Make) -> None:
    """The life of a port."""
    assert server.post(body()) == (OK, b"{}")
    status, shown = server.ask("GET", f"/port/{UUID}")
    assert status == OK
    assert shown.startswith(b'{\n    "id": "93c2c386-')
    assert json.loads(shown)["mdata-ip"] == "169.254.64.2"
    assert server.ask("DELETE", f"/port/{UUID}") == (OK, b"{}")
    assert server.ask("GET", f"/port/{UUID}") == (
        b"HTTP/1.1 404 OK",
        b'{"error":"{ Not Found }"}',
    )
    assert server.ask("DELETE", f"/port/{UUID}") == (OK, b"{}")


def test_an_array_is_added_whole(server: Server, body: Make, port: Make) -> None:
    """All of it is there when the reply is."""
    two = body(id=port(2).id, system_name="tap2")
    assert server.post([body(), two]) == (OK, b"{}")
    assert len(server.registry) == 2
    assert server.post([]) == (OK, b"{}")


def test_a_refused_array_is_an_error(server: Server, body: Make) -> None:
    """Contrail answers 200 and adds nothing; we say so."""
    status, reply = server.post([body(), body(id="x")])
    assert status == ERROR
    assert reply == b'{"error":"{ Invalid or missing data for <id> (element 1) }"}'
    assert len(server.registry) == 0


def test_refusals_are_said_counted_and_traced(server: Server, body: Make) -> None:
    """The caller, the counter and the trace get the same text."""
    assert server.post(body(vn_id="")) == (ERROR, b'{"error":"{ Invalid VN uuid }"}')
    [event] = server.refused()
    assert (event.label(), event.text()) == (
        "500",
        "Error: POST '/port' : 500 { Invalid VN uuid }",
    )


def test_a_conflict_is_an_error(server: Server, body: Make, port: Make) -> None:
    """Two guests on one tap."""
    server.post(body())
    status, reply = server.post(body(id=port(2).id))
    assert (status, b"already has 10.0.0.5" in reply) == (ERROR, True)


def test_a_full_disk_is_an_error(server: Server, body: Make) -> None:
    """Contrail answers 200 although the port is not there."""
    server.journal.refusal = StoreError("Writing of Json string to file failed for x")
    assert server.post(body()) == (
        ERROR,
        b'{"error":"{ Writing of Json string to file failed for x }"}',
    )


def test_the_reply_waits_for_the_kernel(server: Server, body: Make) -> None:
    """And no longer than the deadline."""
    server.kernel = Deferred()
    channel, transport = server.connect()
    channel.dataReceived(request("POST", "/port", json.dumps(body()).encode()))
    assert transport.value() == b""
    server.clock.advance(5)
    assert transport.value().startswith(b"HTTP/1.1 500 OK")
    assert b"registered, but the kernel has not taken it" in transport.value()


def test_a_caller_that_goes_away_harms_nothing(server: Server, body: Make) -> None:
    """The port is registered; nothing is written to a dead connection."""
    server.kernel = Deferred()
    channel, transport = server.connect()
    channel.dataReceived(request("POST", "/port", json.dumps(body()).encode()))
    channel.connectionLost(Failure(ConnectionDone()))
    server.kernel.callback(None)
    assert (len(server.registry), transport.value()) == (1, b"")


def test_ports_without_a_time_are_stamped(server: Server, body: Make) -> None:
    """author and time say who registered and when, where the client did not."""
    server.post(body())
    port = server.registry.registrations()[0].port
    assert (port.author, port.time[:3]) == ("vagent", "197")


def test_list_of_nothing_and_of_many(server: Server, body: Make, port: Make) -> None:
    """One JSON array, however many parts it is sent in."""
    assert server.ask("GET", "/ports") == (OK, b"[]")
    count = 2 * PART + 1
    server.post(
        [
            body(id=port(n).id, system_name=f"tap{n}", ip_address="None")
            for n in range(count)
        ]
    )
    text = server.send(request("GET", "/ports"))
    top, _, rest = text.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in top
    listed = json.loads(unchunked(rest))
    assert [each["id"] for each in listed] == [port(n).id for n in range(count)]
    assert listed[0]["state"] == "Inactive < no-address >"


def test_a_long_list_lets_others_run(server: Server, body: Make, port: Make) -> None:
    """Each part is a turn of the reactor; a caller that leaves ends it."""
    server.post(
        [body(id=port(n).id, system_name=f"tap{n}") for n in range(2 * PART + 1)]
    )
    channel, transport = server.connect()
    channel.dataReceived(request("GET", "/ports"))
    first = len(transport.value())
    server.clock.advance(0)
    assert len(transport.value()) > first
    channel.connectionLost(Failure(ConnectionDone()))
    sent = len(transport.value())
    server.clock.pump([0] * 5)
    assert len(transport.value()) == sent


def unchunked(text: bytes) -> bytes:
    whole = b""
    while True:
        size, _, rest = text.partition(b"\r\n")
        if not int(size, 16):
            return whole
        whole, text = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


@pytest.mark.parametrize("verb", ["enable", "disable"])
def test_enable_and_disable(server: Server, body: Make, verb: str) -> None:
    """Remote ports only; Contrail's texts, without blanks in the braces."""
    path = f"/{verb}-port/{UUID}"
    assert server.ask("PUT", path) == (
        ERROR,
        f'{{"error":"{{Port Not found {UUID}}}"}}'.encode(),
    )
    server.post(body())
    assert server.ask("PUT", path) == (
        ERROR,
        f'{{"error":"{{Incorrect Port type for {UUID}}}"}}'.encode(),
    )
    server.post(body(type=2))
    assert server.ask("PUT", path) == (OK, b"{}")
    assert server.registry.registrations()[0].port.link_up is (verb == "enable")


def test_syncports(server: Server, body: Make) -> None:
    """What is not registered again in time goes."""
    server.post(body())
    assert server.ask("POST", "/syncports") == (OK, b"{}")
    server.clock.advance(STALE_AFTER)
    assert len(server.registry) == 0


def test_stopping_the_site_ends_a_sync(server: Server, body: Make) -> None:
    """No timer is left."""
    server.post(body())
    server.ask("POST", "/syncports")
    server.site.doStop()
    assert server.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"), ("GET", "/port"), ("GET", "/port/"), ("PUT", "/port"),
        ("POST", f"/port/{UUID}"), ("GET", f"/port/{UUID.upper()}"),
        ("GET", f"/port/{UUID}/"), ("GET", f"/port/{UUID}x"), ("GET", f"//port/{UUID}"),
        ("DELETE", "/port"), ("DELETE", "/port/not-a-uuid"), ("GET", "/vn"),
        ("POST", "/vm"), ("POST", "/gateway"), ("GET", f"/ports/{UUID}"),
        ("POST", "/ports"), ("GET", "/syncports"), ("PUT", "/enable-port"),
        ("GET", f"/enable-port/{UUID}"), ("OPTIONS", "/port"), ("get", "/ports"),
        ("GET", "http://localhost/ports"), ("GET", "/port/..%2f..%2fetc"),
    ],
)  # fmt: skip
def test_everything_else_is_unknown(server: Server, method: str, path: str) -> None:
    """Contrail matches method and path in full, UUIDs in lower case."""
    assert server.ask(method, path) == (b"HTTP/1.1 404 OK", UNKNOWN)


def test_a_query_is_ignored(server: Server) -> None:
    """It never meant anything here."""
    assert server.ask("GET", "/ports?x=1") == (OK, b"[]")


def test_head_gets_no_body(server: Server) -> None:
    """Not one of Contrail's calls."""
    assert server.send(request("HEAD", "/ports")).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost"])
def test_web_pages_are_turned_away(server: Server, body: Make, origin: str) -> None:
    """A browser names the page's origin with whatever can change something."""
    data = json.dumps(body()).encode()
    status, reply = server.ask("POST", "/port", data, f"Origin: {origin}\r\n")
    assert status == b"HTTP/1.1 403 OK"
    assert reply == b'{"error":"{ Cross-origin request refused }"}'
    assert len(server.registry) == 0


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:9091", "127.0.0.1:9091", "127.0.0.1", "[::1]:9091",
     "[::1]", "10.1.2.3:80"],
)  # fmt: skip
def test_hosts_that_no_dns_zone_answers_for(host: str) -> None:
    """Contrail's clients say localhost or 127.0.0.1."""
    assert is_local_name(host.encode())


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:9091", "127.0.0.1.evil.example",
     "localhost.evil", "127.0.0.1@evil", "[::1", "::1", "[127.0.0.1]x", "127.1",
     "0x7f.1", "[fe80::1%x]", "localhost:", "localhost:123456", "a" * 300, "\xe9"],
)  # fmt: skip
def test_hosts_that_rebinding_could_use(server: Server, host: str) -> None:
    """Anything but localhost and addresses."""
    assert not is_local_name(host.encode("latin-1"))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Host: evil.example\r\n", b"HTTP/1.1 403 OK"),
        ("Host: localhost\r\nHost: evil.example\r\n", b"HTTP/1.1 403 OK"),
        ("X-No-Host:\r\n", OK),
    ],
)
def test_the_host_header_is_checked(server: Server, head: str, status: bytes) -> None:
    """A foreign or doubled one is refused; browsers always send one."""
    if "X-No" in head:
        text = server.send(b"GET /ports HTTP/1.0\r\n\r\n")
        assert text.startswith(b"HTTP/1.0 200 OK")
    else:
        assert server.ask("GET", "/ports", head=head)[0] == status


def padded(body: Make, size: int) -> bytes:
    text: bytes = json.dumps(body()).encode()
    return text + b" " * (size - len(text))


@pytest.mark.parametrize("size", [MAX_BODY - 1, MAX_BODY, MAX_BODY + 1])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_have_a_ceiling(
    server: Server,
    body: Make,
    size: int,
    chunked: bool,
) -> None:
    """n-1 and n are read; n+1 is 413, counted or announced."""
    content = padded(body, size)
    if chunked:
        head = (
            b"POST /port HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        )
        content = f"{len(content):x}\r\n".encode() + content + b"\r\n0\r\n\r\n"
        text = server.send(head + b"\r\n" + content)
    else:
        text = server.send(request("POST", "/port", content))
    expected = OK if size <= MAX_BODY else b"HTTP/1.1 413 OK"
    assert text.startswith(expected)
    assert len(server.registry) == (size <= MAX_BODY)


def test_a_body_without_end_is_cut_off(server: Server) -> None:
    """Nothing of it is kept, and at some point we hang up."""
    channel, transport = server.connect()
    endless = f"Content-Length: {10**12}\r\n\r\n".encode()
    channel.dataReceived(b"POST /port HTTP/1.1\r\nHost: localhost\r\n" + endless)
    megabyte = b" " * 1024 * 1024
    for _ in range(MAX_DISCARDED // len(megabyte)):
        channel.dataReceived(megabyte)
    assert not transport.disconnecting
    channel.dataReceived(b" ")
    assert transport.disconnecting


def test_a_form_is_still_json(server: Server, body: Make) -> None:
    """`curl -d` announces a form."""
    head = "Content-Type: application/x-www-form-urlencoded\r\n"
    data = json.dumps(body()).encode()
    assert server.ask("POST", "/port", data, head) == (OK, b"{}")
    broken = "Content-Type: multipart/form-data\r\n"
    assert server.ask("POST", "/port", data, broken) == (OK, b"{}")


def test_a_connection_carries_several_calls(server: Server, body: Make) -> None:
    """Keep-alive, pipelined, answered in order."""
    text = server.send(
        request("POST", "/port", json.dumps(body()).encode())
        + request("GET", f"/port/{UUID}")
        + request("DELETE", f"/port/{UUID}")
    )
    assert text.count(b"HTTP/1.1 200 OK") == 3


def test_silence_is_ended(server: Server) -> None:
    """A connection that asks nothing is closed."""
    channel, transport = server.connect()
    server.clock.advance(IDLE_TIMEOUT)
    assert transport.disconnecting
    channel.connectionLost(Failure(ConnectionDone()))


def test_connections_have_a_ceiling(server: Server) -> None:
    """n is served, n+1 is closed at once, and a place that is free is free."""
    open_ = [server.connect() for _ in range(MAX_CONNECTIONS)]
    assert not open_[-1][1].disconnecting
    channel, transport = server.connect()
    assert transport.disconnecting
    channel.connectionLost(Failure(ConnectionDone()))
    open_[0][0].connectionLost(Failure(ConnectionDone()))
    assert not server.connect()[1].disconnecting
    assert repr(server.site) == "<PortSite 64/64 connections>"


def test_a_fault_of_ours_costs_one_connection(server: Server, body: Make) -> None:
    """Border: it is reported, the caller sees a hang-up, the next call works."""

    def broken(_body: bytes) -> Any:
        raise RuntimeError("bug")

    kept, server.site.api._add = server.site.api._add, broken  # type: ignore[method-assign,assignment]  # a bug
    channel, transport = server.connect()
    channel.dataReceived(request("POST", "/port", json.dumps(body()).encode()))
    assert transport.disconnecting
    assert server.refused()[0].error == "internal error: RuntimeError('bug')"
    server.site.api._add = kept  # type: ignore[method-assign]  # mended
    assert server.post(body())[0] == OK
