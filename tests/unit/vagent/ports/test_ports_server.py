"""Promises of vagent.ports.server and api: Contrail's port REST API, byte for byte."""

from __future__ import annotations

import json
import re
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

from tests.gates import open_gate
from vagent.errors import StoreError
from vagent.observe.event import Event
from vagent.ports.api import PART
from vagent.ports.events import PortRequestRefused
from vagent.ports.port import Port, Registration
from vagent.ports.registrar import STALE_AFTER, Registrar
from vagent.ports.registry import PortRegistry
from vagent.ports.server import port_api_site

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
        if self.refusal is not None:
            raise self.refusal


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
            names=("localhost",),
            gate=open_gate(),
            emit=self.events.append,
            clock=self.clock,
            now=self.clock.seconds,
            refusals_of=lambda port_id: self.refusals.get(port_id, ()),
        )
        self.refusals: dict[str, tuple[dict[str, object], ...]] = {}
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


def test_what_was_refused_is_shown_with_the_port(server: Server, body: Make) -> None:
    """Own addition: only where there is something, and not in the list of all."""
    server.post(body())
    before = server.ask("GET", f"/port/{UUID}")[1]
    assert "refused" not in json.loads(before)
    server.refusals[UUID] = ({"reason": "spoofed"},)
    shown = json.loads(server.ask("GET", f"/port/{UUID}")[1])
    assert json.loads(before) | {"refused": [{"reason": "spoofed"}]} == shown
    assert b"refused" not in server.ask("GET", "/ports")[1]


def test_a_whole_reply_is_contrails(server: Server, body: Make) -> None:
    """Status line, Content-Type, Content-Length, body: nothing else but the Date that
    HTTP wants.
    """
    data = request("POST", "/port", json.dumps(body()).encode())
    answer, dates = re.subn(rb"\r\nDate: [^\r]* GMT", b"", server.send(data))
    assert (1, answer) == (
        dates,
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Type: application/json; charset=UTF-8\r\n"
        b"Content-Length: 2\r\n\r\n{}",
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


def test_a_call_for_an_owner_removes_its_ports_alone(
    server: Server, body: Make
) -> None:
    """The watcher cannot remove what somebody else has registered; and a body that
    cannot be read removes nothing.
    """
    server.post(body())
    mine = b'{"owner": "watcher"}'
    assert (OK, b"{}") == server.ask("DELETE", f"/port/{UUID}", mine)
    assert ERROR == server.ask("DELETE", f"/port/{UUID}", b"{")[0]
    assert server.registry.get(UUID) is not None
    server.ask("DELETE", f"/port/{UUID}")
    server.post(body(owner="watcher"))
    assert b'"owner": "watcher"' in server.ask("GET", f"/port/{UUID}")[1]
    server.ask("DELETE", f"/port/{UUID}", mine)
    assert len(server.registry) == 0


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


def test_a_file_that_stays_is_an_error(server: Server, body: Make) -> None:
    """Contrail answers 200; the port would be back after a restart."""
    server.post(body())
    server.journal.refusal = StoreError("port file x: Read-only file system")
    status, reply = server.ask("DELETE", f"/port/{UUID}")
    assert (ERROR, b'{"error":"{ port file x: Read-only file system }"}') == (
        status,
        reply,
    )
    assert OK == server.ask("GET", f"/port/{UUID}")[0]
    server.journal.refusal = None
    assert (OK, b"{}") == server.ask("DELETE", f"/port/{UUID}")


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


def test_a_fault_of_ours_is_an_error(server: Server, body: Make) -> None:
    """It is reported, the caller gets 500 in Contrail's form, the next call works."""

    async def broken(_ports: Iterable[Port]) -> tuple[Registration, ...]:
        raise RuntimeError("bug")

    kept, server.registrar.add = server.registrar.add, broken  # type: ignore[method-assign,assignment]  # a bug
    assert server.post(body()) == (
        ERROR,
        b'{"error":"{ internal error: RuntimeError }"}',
    )
    assert ["{ internal error: RuntimeError }"] == [e.detail for e in server.refused()]
    server.registrar.add = kept  # type: ignore[method-assign]  # mended
    assert server.post(body())[0] == OK


def test_who_is_not_admitted_learns_it_in_contrails_form(server: Server) -> None:
    """JSON, reason phrase OK, and an event."""
    status, reply = server.ask("GET", "/ports", head="Origin: null\r\n")
    assert b"HTTP/1.1 403 OK" == status
    assert b'{"error":"{ Origin: web pages may not send requests here }"}' == reply
    assert ["403"] == [event.label() for event in server.refused()]
