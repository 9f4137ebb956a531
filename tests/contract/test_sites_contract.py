"""The port API, the config API and introspection admit and bound requests alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from introspect.events import PageRefused
from introspect.server import introspect_site
from introspect.sources import Sources
from provision.config_api.events import ApiAnswered
from provision.config_api.server import config_api_site
from tests.gates import open_gate
from vagent.config.model import Access, AccessMode, Secret
from vagent.linklocal.table import EMPTY
from vagent.observe.event import Event
from vagent.observe.statistics import Statistics
from vagent.observe.traces import TraceBuffers
from vagent.ports.events import PortRequestRefused
from vagent.ports.journal import Journal
from vagent.ports.registrar import Registrar
from vagent.ports.registry import PortRegistry
from vagent.ports.server import port_api_site
from vagent.store.memory import MemoryStore
from vagent.web.caller import Operators
from vagent.web.events import CallerRefused, OperatorChange
from vagent.web.gate import Gate
from vagent.web.own_names import OwnNames
from vagent.web.places import SHARE
from vagent.web.site import DISCARDED, OperatorSite

FURTHER = "api.example.net"


class Reactor(Clock):
    """A clock that takes calls from threads at once."""

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        call(*args)


class Caller:
    """One site, and what happens when it is called."""

    def __init__(self, name: str, gate: Gate | None = None) -> None:
        self.name = name
        self.clock = Reactor()
        self.events: list[Event] = []
        self.path = {"port API": "/ports", "config API": "/"}.get(name, "/healthz")
        self.site = self._site(name, gate or open_gate())

    def _site(self, name: str, gate: Gate) -> OperatorSite:
        names = OwnNames(
            (FURTHER,),
            reactor=self.clock,
            host_name="compute-7",
            look_up=lambda _name: "compute-7.dc.example.net",
            run=lambda work: work(),
        )
        names.start()
        emit, clock = self.events.append, self.clock
        if name == "port API":
            return port_api_site(
                self._registrar(),
                names=names,
                gate=gate,
                emit=emit,
                clock=clock,
                now=clock.seconds,
            )
        if name == "config API":
            return config_api_site(
                MemoryStore(),
                names=names,
                gate=gate,
                emit=emit,
                clock=clock,
                services=lambda: EMPTY,
            )
        return introspect_site(
            _sources(),
            names=names,
            gate=gate,
            emit=emit,
            clock=clock,
            now=lambda: 0.0,
        )

    def _registrar(self) -> Registrar:
        async def settle() -> None:
            return None

        emit = self.events.append
        return Registrar(
            PortRegistry(IPv4Network("169.254.64.0/18"), emit=emit),
            Journal(Path("/nowhere"), run_in_thread=_never, emit=emit),
            settle=settle,
            emit=emit,
            clock=self.clock,
        )

    def send(self, data: bytes) -> bytes:
        channel = self.site.buildProtocol(None)
        transport = self.transport()
        channel.makeConnection(transport)
        channel.dataReceived(data)
        return bytes(transport.value())

    def transport(self) -> StringTransport:
        return StringTransport()

    def status(self, *fields: str, version: str = "1.1", method: str = "GET") -> int:
        lines = [f"{method} {self.path} HTTP/{version}", *fields, "", ""]
        return int(self.send("\r\n".join(lines).encode("latin-1")).split()[1])

    def refused(self) -> list[Event]:
        """The events that say so, each of its site's kind."""
        return [
            event
            for event in self.events
            if isinstance(event, PortRequestRefused | PageRefused)
            or (isinstance(event, ApiAnswered) and event.status >= 400)
        ]


def _never(_work: Callable[[], Any]) -> Any:
    raise AssertionError


def _sources() -> Sources:
    return Sources(
        metadata_port=lambda: 8097,
        services=lambda: (),
        registrations=lambda: (),
        port_state=lambda _registration: "",
        traces=TraceBuffers(),
        statistics=Statistics(),
        ready=lambda: None,
        version="1",
    )


@pytest.fixture(params=["port API", "config API", "introspection"])
def caller(request: pytest.FixtureRequest) -> Caller:
    """Each of the three sites."""
    return Caller(request.param)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8082",
        "10.0.0.7:9091",
        "[::1]:8085",
        "localhost",
        "LocalHost:8085",
        "compute-7:8082",
        "COMPUTE-7.dc.example.net",
        "compute-7.dc.example.net.:9091",
        "api.example.net",
        "API.example.NET:443",
    ],
)
def test_who_is_admitted(caller: Caller, host: str) -> None:
    """Any address, localhost, the host's own name and FQDN, and names of agent.conf."""
    assert 200 == caller.status(f"Host: {host}")
    assert [] == caller.refused()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (["Host: evil.example"], 421),
        (["Host: 127.0.0.1.evil.example"], 421),
        (["Host: localhost.evil.example:8085"], 421),
        (["Host: compute-8"], 421),
        (["Host: dc.example.net"], 421),
        ([], 400),
        (["Host:"], 400),
        (["Host: localhost", "Host: localhost"], 400),
        (["Host: localhost", "Host: evil.example"], 400),
        (["Host: localhost:65536"], 400),
        (["Host: localhost:x"], 400),
        (["Host: user@localhost"], 400),
        (["Host: ::1"], 400),
        (["Host: [::1"], 400),
        (["Host: [fe80::1%eth0]"], 400),
        (["Host: 127.1"], 400),
        (["Host: 2130706433"], 400),
        (["Host: \xe9"], 400),
        (["Host: localhost", "Origin: http://evil.example"], 403),
        (["Host: localhost", "Origin: null"], 403),
        (["Host: localhost", "Origin: http://localhost"], 403),
        (["Host: evil.example", "Origin: http://evil.example"], 403),
        (["Origin: null"], 403),
    ],
)
def test_who_is_not(caller: Caller, fields: Sequence[str], status: int) -> None:
    """The same refusal has the same status on all three, and is an event."""
    assert status == caller.status(*fields)
    assert 1 == len(caller.refused())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_admission_comes_before_the_method(caller: Caller, method: str) -> None:
    """A web page does not even learn what a site allows."""
    assert 403 == caller.status("Host: localhost", "Origin: null", method=method)
    assert 421 == caller.status("Host: evil.example", method=method)


def test_http10_may_have_no_host(caller: Caller) -> None:
    """No browser speaks it."""
    assert 200 == caller.status(version="1.0")
    assert 421 == caller.status("Host: evil.example", version="1.0")


def test_a_body_that_is_too_long(caller: Caller) -> None:
    """413 after it was read away; 413 and the end where it is without end."""
    length = caller.site.max_body + 1
    for size, sent in ((length, length), (DISCARDED * length, 0)):
        head = f"POST {caller.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
        answer = caller.send(head.encode() + b"%d\r\n\r\n" % size + b" " * sent)
        assert b"413" == answer.split()[1]
        assert b"Body is longer than " in answer
    assert 2 == len(caller.refused())


SITES = ("port API", "config API", "introspection")
TOKEN = "0123456789abcdef"
RIGHT, WRONG = f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {TOKEN}0"
ROOT, MEMBER, STRANGER = 0, 5, 65534
USERS = (ROOT, MEMBER, STRANGER, None)


class Loopback(StringTransport):
    """A connection over loopback."""

    def __init__(self) -> None:
        super().__init__(
            hostAddress=IPv4Address("TCP", "127.0.0.1", 1),
            peerAddress=IPv4Address("TCP", "127.0.0.1", 2),
        )


class Guarded(Caller):
    """A site with one kind of `<access>`, called by one user."""

    def __init__(self, name: str, mode: str, uid: int | None) -> None:
        token = Secret(TOKEN.encode() if mode == "token" else b"")
        super().__init__(
            name,
            Gate(
                Access(AccessMode(mode), token),
                operators=Operators(
                    group=lambda: 7,
                    groups=lambda uid: frozenset({7} if uid == MEMBER else ()),
                ),
                owner_of=lambda _here, _there: uid,
            ),
        )

    def transport(self) -> StringTransport:
        return Loopback()


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize(
    ("mode", "fields", "statuses"),
    [
        ("peer-uid", (), (200, 200, 403, 403)),
        ("peer-uid", (RIGHT,), (200, 200, 403, 403)),
        ("open", (), (200, 200, 200, 200)),
        ("token", (RIGHT,), (200, 200, 200, 200)),
        ("token", (WRONG,), (401, 401, 401, 401)),
        ("token", (), (401, 401, 401, 401)),
    ],
)
def test_who_may_use_a_site(
    name: str, mode: str, fields: tuple[str, ...], statuses: tuple[int, ...]
) -> None:
    """Root, a member of the group, another user, and one who has closed already."""
    for uid, status in zip(USERS, statuses, strict=True):
        guarded = Guarded(name, mode, uid)
        assert status == guarded.status("Host: localhost", *fields)
        refused = [each for each in guarded.events if isinstance(each, CallerRefused)]
        assert (status != 200) == bool(refused)


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
def test_no_call_is_for_strangers(name: str, method: str) -> None:
    """Whatever it is; and a wrong token shows in no event."""
    guarded = Guarded(name, "peer-uid", STRANGER)
    assert 403 == guarded.status("Host: localhost", method=method)
    guarded = Guarded(name, "token", ROOT)
    assert 401 == guarded.status("Host: localhost", WRONG, method=method)
    assert not any(TOKEN in repr(event) for event in guarded.events)


@pytest.mark.parametrize("name", SITES[:2])
def test_a_change_has_its_caller(name: str) -> None:
    """In one event; one that is refused by what it asks as well."""
    guarded = Guarded(name, "peer-uid", MEMBER)
    guarded.status("Host: localhost", method="DELETE")
    changes = [each for each in guarded.events if isinstance(each, OperatorChange)]
    assert ["uid 5 over TCP from 127.0.0.1"] == [each.caller for each in changes]


@pytest.mark.parametrize("path", ["/vagent/instances", "//vagent/instance/x/"])
def test_who_reads_instances_is_told(path: str) -> None:
    """As a change: their user data holds secrets. Other reads are not."""
    guarded = Guarded("config API", "peer-uid", MEMBER)
    for each in ("/vagent/services", path):
        guarded.path = each
        guarded.status("Host: localhost")
    changes = [each for each in guarded.events if isinstance(each, OperatorChange)]
    assert [path] == [each.path for each in changes]


@pytest.mark.parametrize("name", SITES)
def test_strangers_leave_places_for_root(name: str) -> None:
    """However many connections they open."""
    guarded = Guarded(name, "open", STRANGER)
    for _ in range(2 * SHARE):
        guarded.site.buildProtocol(None).makeConnection(Loopback())
    assert SHARE == len(guarded.site.places)
    assert guarded.site.places.take(ROOT)
