"""The server on a transport in memory: ceilings, deadlines, framing, silence."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from vagent.config.model import Secret
from vagent.errors import ConflictError, StoreError
from vagent.metadata.http.date import HttpDate
from vagent.nova import server
from vagent.nova.authority import Authority
from vagent.nova.codec import decode_instance
from vagent.nova.connection.channel import CLOSE_TIMEOUT, IDLE_TIMEOUT
from vagent.nova.connection.request_head import MAX_BODY, MAX_HEADERS
from vagent.nova.events import (
    NovaAnswered,
    NovaConnectionRefused,
    NovaFailed,
    NovaRefused,
)
from vagent.nova.instance import Instance
from vagent.nova.server import ANSWER_DEADLINE, metadata_site
from vagent.nova.vendordata.vendor_data import VendorDataError
from vagent.observe.event import Event
from vagent.transport.deadlines import TICK_SECONDS

UUID = "1a2b3c00-0000-4000-8000-000000000003"
TENANT = "7e000000000040008000000000000001"
SECRET = b"hunter2"
SIGNATURE = hmac.new(SECRET, UUID.encode(), hashlib.sha256).hexdigest()
SIGNED = (
    f"X-Instance-ID: {UUID}\r\nX-Tenant-ID: {TENANT}\r\n"
    f"X-Instance-ID-Signature: {SIGNATURE}\r\n"
)
PASSWORD = "/openstack/latest/password"


class Instances:
    """One instance; waits for `gate`, or raises `error`, if there is one."""

    gate: Deferred[None] | None = None
    error: Exception | None = None

    async def get(self, instance_id: str) -> Instance | None:
        if self.error is not None:
            raise self.error
        if self.gate is not None:
            await self.gate
        if instance_id != UUID:
            return None
        return decode_instance(
            {"uuid": UUID, "tenant_id": TENANT, "user_data": "body-text"}
        )


class Passwords:
    """Nothing set; refuses with a conflict while `taken`."""

    taken = False
    kept = ""

    async def get(self, instance_id: str) -> str:
        return self.kept

    async def set(self, instance_id: str, password: str) -> None:
        if self.taken:
            raise ConflictError("somebody was faster")
        self.kept = password


class Vendor:
    """Static and dynamic vendor data, one target with a name that loses."""

    def static(self, instance: Instance) -> Mapping[str, Any]:
        return {"a": 1, **instance.vendor_data}

    async def dynamic(self, instance: Instance) -> Mapping[str, Any]:
        return {"static": "loses", "join": {"name": instance.name}}


class Server:
    def __init__(self, **more: Any) -> None:
        self.clock = Clock()
        self.instances = Instances()
        self.passwords = Passwords()
        self.events: list[Event] = []
        self.site = metadata_site(
            self.instances,
            self.passwords,
            Authority(Secret(SECRET)),
            entropy=bytes,
            emit=self.events.append,
            reactor=self.clock,
            date=HttpDate(float, self.clock.seconds),
            **more,
        )

    def connect(self) -> tuple[Any, StringTransport]:
        protocol = self.site.buildProtocol(None)
        transport = StringTransport()
        transport.abortConnection = transport.loseConnection  # type: ignore[method-assign]  # the same here
        protocol.makeConnection(transport)
        return protocol, transport

    def ask(self, target: str, *, method: str = "GET", **more: Any) -> bytes:
        protocol, transport = self.connect()
        protocol.dataReceived(message(target, method=method, **more))
        return bytes(transport.value())


def message(
    target: str, *, method: str = "GET", headers: str = SIGNED, content: bytes = b""
) -> bytes:
    length = f"Content-Length: {len(content)}\r\n" if content else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: a\r\n{headers}{length}\r\n"
    return head.encode() + content


def status(reply: bytes) -> int:
    return int(reply.split()[1])


def body(reply: bytes) -> bytes:
    return reply.partition(b"\r\n\r\n")[2]


@pytest.fixture
def nova() -> Server:
    return Server()


def test_answer_is_framed(nova: Server) -> None:
    """Content-Length and Date always, never chunked, and two headers of ours:
    an answer must not be given again (`Cache-Control`), and a change can be told.
    """
    head = nova.ask("/latest/user-data").partition(b"\r\n\r\n")[0]
    assert sorted(head.lower().split(b"\r\n")) == [
        b"cache-control: no-cache",
        b"content-length: 9",
        b"content-type: text/plain; charset=utf-8",
        b"date: thu, 01 jan 1970 00:00:00 gmt",
        b'etag: "81a4c85f612f9a12"',
        b"http/1.1 200 ok",
    ]


def test_errors_have_no_entity_tag(nova: Server) -> None:
    """What is not there cannot be compared; it must not be given again either."""
    reply = nova.ask("/nope").lower()
    assert b"\r\ncache-control: no-cache\r\n" in reply
    assert b"etag" not in reply


def test_head_has_no_body(nova: Server) -> None:
    """HEAD answers the same head, without the body."""
    reply = nova.ask("/latest/user-data", method="HEAD")
    assert b"content-length: 9" in reply.lower()
    assert body(reply) == b""


def test_keep_alive_and_pipelining(nova: Server) -> None:
    """Requests on one connection are answered in order; byte by byte too."""
    protocol, transport = nova.connect()
    for byte in message("/latest/user-data") + message("/nope"):
        protocol.dataReceived(bytes([byte]))
    replies = transport.value().split(b"HTTP/1.1 ")[1:]
    assert [reply[:3] for reply in replies] == [b"200", b"404"]
    assert not transport.disconnecting


def test_close_is_honoured(nova: Server) -> None:
    """Connection: close ends the connection after the answer."""
    protocol, transport = nova.connect()
    protocol.dataReceived(message("/", headers="Connection: close\r\n"))
    assert status(transport.value()) == 200
    assert transport.disconnecting


@pytest.mark.parametrize(("over", "expected"), [(-1, 200), (0, 200), (1, 413)])
@pytest.mark.parametrize("chunked", [False, True])
def test_body_ceiling(nova: Server, over: int, expected: int, chunked: bool) -> None:
    """Bodies are read up to the ceiling; one byte more is refused."""
    protocol, transport = nova.connect()
    content = bytes(MAX_BODY + over)
    if chunked:
        headers = SIGNED + "Transfer-Encoding: chunked\r\n"
        protocol.dataReceived(message("/latest", method="POST", headers=headers))
        protocol.dataReceived(b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))
    else:
        protocol.dataReceived(message("/latest", method="POST", content=content))
    assert expected == status(transport.value())
    assert transport.disconnecting == (expected == 413)


def test_body_is_refused_before_it_comes(nova: Server) -> None:
    """A length above the ceiling is answered at once, and what follows is ignored."""
    protocol, transport = nova.connect()
    headers = f"Expect: 100-continue\r\nContent-Length: {MAX_BODY + 1}\r\n"
    protocol.dataReceived(message("/", method="POST", headers=headers))
    reply = transport.value()
    assert status(reply) == 413
    assert transport.disconnecting
    protocol.dataReceived(b"x" * 10 + message("/"))
    assert reply == transport.value()
    assert b"100 Continue" not in reply


def test_refused_caller_cannot_linger(nova: Server) -> None:
    """A caller that goes on sending after its refusal is cut off."""
    protocol, transport = nova.connect()
    aborted: list[str] = []
    transport.abortConnection = lambda: aborted.append("now")  # type: ignore[method-assign]  # to see it
    headers = SIGNED + "Transfer-Encoding: chunked\r\n"
    protocol.dataReceived(message("/latest", method="POST", headers=headers))
    piece = b"%x\r\n%s\r\n" % (MAX_BODY, bytes(MAX_BODY))
    protocol.dataReceived(piece * 3)
    assert transport.value().count(b"HTTP/1.1 413") == 1
    nova.clock.advance(CLOSE_TIMEOUT - 1)
    protocol.dataReceived(piece)
    assert aborted == []
    nova.clock.advance(1)
    assert aborted == ["now"]


def test_refused_caller_that_closes_leaves_nothing(nova: Server) -> None:
    """No timer outlives a connection that was refused."""
    protocol, _ = nova.connect()
    headers = f"Content-Length: {MAX_BODY + 1}\r\n"
    protocol.dataReceived(message("/", method="POST", headers=headers))
    protocol.connectionLost(Failure(ConnectionDone()))
    nova.clock.advance(TICK_SECONDS)
    assert [] == nova.clock.getDelayedCalls()


def test_header_ceiling(nova: Server) -> None:
    """As many header fields as allowed pass; one more does not."""
    fields = [f"X-{n}: y\r\n" for n in range(MAX_HEADERS)]
    assert status(nova.ask("/", headers="".join(fields[:-1]))) == 200
    assert status(nova.ask("/", headers="".join(fields))) == 431


def test_connection_ceiling(nova: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection too many is closed at once; a closed one makes room."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    first, _ = nova.connect()
    nova.connect()
    refused, transport = nova.connect()
    assert transport.disconnecting
    refused.dataReceived(message("/"))
    assert transport.value() == b""
    assert [NovaConnectionRefused()] == nova.events
    assert repr(nova.site) == "<MetadataSite 2 connections>"
    refused.connectionLost(Failure(ConnectionDone()))
    first.connectionLost(Failure(ConnectionDone()))
    assert repr(nova.site) == "<MetadataSite 1 connections>"
    _, transport = nova.connect()
    assert not transport.disconnecting


def test_idle_connection_is_closed(nova: Server) -> None:
    """Silence is borne for the idle timeout and no longer."""
    _, transport = nova.connect()
    nova.clock.advance(IDLE_TIMEOUT - 1)
    assert not transport.disconnecting
    nova.clock.advance(1)
    assert transport.disconnecting


def test_answer_has_a_deadline(nova: Server) -> None:
    """A store that hangs gives 500 at the deadline, not a hang."""
    nova.instances.gate = Deferred()
    protocol, transport = nova.connect()
    protocol.dataReceived(message("/latest"))
    nova.clock.advance(ANSWER_DEADLINE - 0.1)
    assert transport.value() == b""
    nova.clock.advance(0.1)
    assert status(transport.value()) == 500


def test_caller_that_leaves_ends_the_work(nova: Server) -> None:
    """When the connection is lost the work is cancelled and nothing is reported."""
    cancelled: list[object] = []
    nova.instances.gate = Deferred(cancelled.append)
    protocol, transport = nova.connect()
    protocol.dataReceived(message("/latest"))
    protocol.connectionLost(Failure(ConnectionDone()))
    assert len(cancelled) == 1
    assert transport.value() == b""
    assert nova.events == []
    nova.clock.advance(TICK_SECONDS)
    assert nova.clock.getDelayedCalls() == []


def test_answer_that_comes_too_late_goes_nowhere(nova: Server) -> None:
    """Work that cannot be cancelled ends quietly when the caller has gone."""
    nova.instances.gate = Deferred(lambda gate: gate.callback(None))
    protocol, transport = nova.connect()
    protocol.dataReceived(message("/latest"))
    protocol.connectionLost(Failure(ConnectionDone()))
    assert transport.value() == b""


@pytest.mark.parametrize("error", [StoreError("disk"), ValueError("surprise")])
def test_failure_is_nova_s_500(nova: Server, error: Exception) -> None:
    """A failing store, or a fault of ours: 500 in Nova's words, reported by type."""
    nova.instances.error = error
    reply = nova.ask("/latest")
    assert status(reply) == 500
    assert b"An unknown error has occurred. Please try your request again." in reply
    failed, answered = nova.events
    assert isinstance(failed, NovaFailed)
    assert failed.error == type(error).__name__
    assert "test_nova_server_unit.py" in failed.place
    assert "surprise" not in failed.text()
    assert isinstance(error, StoreError) == failed.text().endswith(": disk")
    assert answered.label() == "5xx"


@pytest.mark.parametrize("error", [StoreError("disk"), ValueError("surprise")])
def test_failure_while_an_answer_waits(nova: Server, error: Exception) -> None:
    """Is the same 500; the answers before and behind it are not touched."""
    protocol, transport = nova.connect()
    nova.instances.gate = Deferred()
    protocol.dataReceived(message("/latest/user-data") * 2)
    gate, nova.instances.gate = nova.instances.gate, None
    gate.errback(error)
    replies = transport.value().split(b"HTTP/1.1 ")[1:]
    assert [b"500", b"200"] == [reply[:3] for reply in replies]


def test_provider_headers_are_never_read(nova: Server) -> None:
    """Load-balancer mode is not offered: its headers change nothing."""
    provider = "X-Metadata-Provider: p\r\nX-Metadata-Provider-Signature: s\r\n"
    plain = nova.ask("/latest")
    assert plain == nova.ask("/latest", headers=SIGNED + provider)
    assert status(nova.ask("/latest", headers=provider)) == 400


def test_underscores_are_not_dashes(nova: Server) -> None:
    """X_Instance_ID is not X-Instance-ID."""
    assert status(nova.ask("/latest", headers=SIGNED.replace("-ID", "_ID"))) == 400


def test_wrong_tenant_is_not_found(nova: Server) -> None:
    """Another tenant's instance looks like none at all."""
    wrong = SIGNED.replace(TENANT, TENANT[:-1] + "2")
    unknown = nova.ask("/latest", headers=wrong)
    assert unknown == nova.ask("/nope")
    reasons = [event.reason for event in nova.events if isinstance(event, NovaRefused)]
    assert reasons == ["wrong-tenant", "no-such-path"]


def test_password_race(nova: Server) -> None:
    """Of two posts at the same time the slower one gets the conflict."""
    nova.passwords.taken = True
    assert status(nova.ask(PASSWORD, method="POST", content=b"x")) == 409


@pytest.mark.parametrize(
    ("size", "expected"), [(1019, 200), (1020, 200), (1021, 400), (MAX_BODY, 400)]
)
def test_password_ceiling(nova: Server, size: int, expected: int) -> None:
    """1,020 bytes are a password, 1,021 are too large."""
    assert expected == status(nova.ask(PASSWORD, method="POST", content=b"x" * size))
    assert len(nova.passwords.kept) == (size if expected == 200 else 0)


def test_password_form_is_not_parsed(nova: Server) -> None:
    """A body is kept as it came, whatever Content-Type says."""
    form = SIGNED + "Content-Type: multipart/form-data; boundary=x\r\n"
    nova.ask(PASSWORD, method="POST", headers=form, content=b"a=b&c")
    assert nova.passwords.kept == "a=b&c"


def test_dynamic_vendor_data() -> None:
    """Targets stand beside the static data; one named `static` loses."""
    nova = Server(vendor_data=Vendor())
    reply = nova.ask("/openstack/latest/vendor_data2.json")
    name = f"vm-{UUID}".encode()
    assert body(reply) == b'{"static": {"a": 1}, "join": {"name": "%s"}}' % name
    assert body(nova.ask("/openstack/latest/vendor_data.json")) == b'{"a": 1}'


def test_vendor_data_that_are_an_error() -> None:
    """In the hard mode: 500 without a body, and only for the second document."""

    class Failing(Vendor):
        async def dynamic(self, instance: Instance) -> Mapping[str, Any]:
            raise VendorDataError("join: status 500")

    nova = Server(vendor_data=Failing())
    reply = nova.ask("/openstack/latest/vendor_data2.json")
    assert (500, b"") == (status(reply), body(reply))
    assert NovaRefused("vendordata") in nova.events
    assert 200 == status(nova.ask("/openstack/latest/vendor_data.json"))


def test_events_tell_without_secrets(nova: Server) -> None:
    """One event for each answer; neither signature, secret nor body is in any text."""
    nova.ask("/latest/user-data?token=q")
    nova.ask("/latest/nope", headers=SIGNED.replace(SIGNATURE, "0" * 64))
    texts = [event.text() for event in nova.events]
    answered = [event for event in nova.events if isinstance(event, NovaAnswered)]
    assert [event.label() for event in answered] == ["2xx", "4xx"]
    assert f"GET /latest/user-data for {UUID}: 200" in texts
    assert "GET /latest/nope for -: 403 (bad-signature)" in texts
    for hidden in (SIGNATURE, SECRET.decode(), "body-text", "token=q", "0" * 64):
        assert hidden not in "".join(texts)


def test_starting_the_factory_starts_no_clock(nova: Server) -> None:
    """There is no access log and no timer for it."""
    nova.site.doStart()
    assert nova.clock.getDelayedCalls() == []
    nova.site.doStop()
