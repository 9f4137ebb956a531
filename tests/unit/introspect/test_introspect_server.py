"""Promises of introspect.server, over a transport of strings."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from introspect.answer import NOT_FOUND
from introspect.events import PageFailed, PageRefused
from introspect.server import introspect_site
from tests.gates import open_gate
from vagent.datapath.flows.flow import FlowList
from vagent.observe.event import Event

GET = b"GET /Snh_MetadataInfo HTTP/1.1\r\nHost: localhost:8085\r\n\r\n"


class Rig:
    """A client's connection to the site."""

    def __init__(self, world: Any) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.site = introspect_site(
            world.sources(),
            names=("localhost",),
            gate=open_gate(),
            emit=self.events.append,
            clock=self.clock,
            now=lambda: 1469000000.0,
        )
        self.transport = StringTransport()
        self.channel = self.site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 9))
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        self.transport.clear()
        self.channel.dataReceived(data)
        return bytes(self.transport.value())

    def ask(
        self, line: bytes, *headers: bytes
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        head, _, body = self.send(b"\r\n".join([line, *headers, b"", b""])).partition(
            b"\r\n\r\n"
        )
        status, *lines = head.split(b"\r\n")
        fields = dict(each.split(b": ", 1) for each in lines)
        return int(status.split()[1]), {k.lower(): v for k, v in fields.items()}, body

    def get(
        self, path: bytes, *headers: bytes
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        return self.ask(b"GET " + path + b" HTTP/1.1", b"Host: localhost", *headers)


def test_an_answer_has_a_length_and_a_type(world: Any) -> None:
    """Answers to tools are whole: type, length, body, and the connection stays."""
    rig = Rig(world)
    status, headers, body = rig.get(b"/Snh_MetadataInfo")
    assert (status, headers[b"content-type"]) == (200, b"text/xml")
    assert headers[b"content-length"] == str(len(body)).encode()
    assert body.endswith(b"</MetadataResponse>")
    assert not rig.transport.disconnecting
    assert rig.get(b"/healthz")[2] == b"ok\n"


@pytest.mark.parametrize("path", [b"/", b"/metrics", b"/nope", b"/Snh_MetadataInfo"])
def test_every_answer_is_hardened(world: Any, path: bytes) -> None:
    """Security headers are on every answer, and nothing is cached."""
    headers = Rig(world).get(path, b"Accept: text/html")[1]
    policy = headers[b"content-security-policy"]
    assert policy.startswith(b"default-src 'none'; style-src 'sha256-")
    assert b"frame-ancestors 'none'" in policy
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"referrer-policy"] == b"no-referrer"
    assert headers[b"cross-origin-resource-policy"] == b"same-origin"
    assert headers[b"server"] == b"vagent"


def test_a_refusal_is_hardened_too(world: Any) -> None:
    """A refused request learns nothing and may not be framed."""
    rig = Rig(world)
    status, headers, body = rig.ask(b"GET / HTTP/1.1", b"Host: evil.example")
    assert (status, headers[b"content-type"]) == (421, b"text/plain; charset=utf-8")
    assert b"evil" not in body
    assert headers[b"x-frame-options"] == b"DENY"
    assert rig.events == [PageRefused("host")]


def test_head_has_the_headers_alone(world: Any) -> None:
    """HEAD tells the length and sends no body."""
    rig = Rig(world)
    status, headers, body = rig.ask(b"HEAD / HTTP/1.1", b"Host: localhost")
    length = len(rig.get(b"/")[2])
    assert (status, body) == (200, b"")
    assert headers[b"content-length"] == str(length).encode()


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"BREW"])
def test_other_methods_are_405(world: Any, method: bytes) -> None:
    """Only GET and HEAD; the answer says so."""
    rig = Rig(world)
    line = method + b" /Snh_MetadataInfo HTTP/1.1"
    status, headers, _ = rig.ask(line, b"Host: localhost", b"Content-Length: 0")
    assert (status, headers[b"allow"]) == (405, b"GET, HEAD")
    assert rig.events == [PageRefused("method")]


def test_http10_is_answered_and_closed(world: Any) -> None:
    """HTTP/1.0 without Host gets its answer and the end of the connection."""
    rig = Rig(world)
    assert rig.ask(b"GET /healthz HTTP/1.0")[0] == 200
    assert rig.transport.disconnecting


def test_arguments_arrive(world: Any) -> None:
    """The query reaches the page."""
    world.trace("hello")
    body = Rig(world).get(b"/Snh_SandeshTraceRequest?x=Metadata")[2]
    assert b"MetadataTrace: hello " in body


def test_browser_marks_arrive(world: Any) -> None:
    """A browser's header makes clearing impossible."""
    rig = Rig(world)
    assert rig.get(b"/Snh_ClearAllInfo", b"Sec-Fetch-Site: cross-site")[0] == 403
    assert rig.get(b"/Snh_ClearAllInfo", b"Referer: http://evil.example/")[0] == 403
    assert rig.get(b"/Snh_ClearAllInfo")[0] == 200


def test_bytes_that_are_no_text_are_not_found(world: Any) -> None:
    """Rubbish in a path is no page, and no failure; it does not become markup."""
    rig = Rig(world)
    status, _, body = rig.get(b"/%ff%fe<script>")
    assert (status, body) == (404, NOT_FOUND)
    status, _, body = rig.get(b"/%ff<script>", b"Accept: text/html")
    assert status == 404
    assert b"<script>" not in body
    assert Rig(world).get(b"/\xff<script>")[0] == 400
    assert rig.events == []


def test_a_failing_page_is_500_and_the_server_goes_on(world: Any) -> None:
    """The failure is an event; the client learns nothing of it."""
    rig = Rig(world)
    world.services.append("not a service of topsecret")
    status, _, body = rig.get(b"/Snh_LinkLocalServiceInfo")
    assert (status, body) == (500, b"This page failed; the log says why.\n")
    (event,) = rig.events
    assert isinstance(event, PageFailed)
    assert "Page /Snh_LinkLocalServiceInfo failed: AttributeError" in event.text()
    assert rig.get(b"/healthz")[0] == 200


def test_events_are_declared_for_counting() -> None:
    """Refusals are counted by reason; failures are counted, traced and logged."""
    refused = PageRefused("host")
    counter = "introspect_refusals_total"
    assert ("host", counter) == (refused.label(), refused.counter.name)
    assert (PageFailed.buffer, PageFailed.level) == ("Agent", "error")


def test_an_answer_may_take_its_time(world: Any) -> None:
    """Facts that have to be fetched: the client waits, and others are served."""
    rig, later = Rig(world), Deferred[FlowList]()
    world.flows = later
    rig.send(GET.replace(b"MetadataInfo", b"FlowListReq"))
    assert rig.transport.value() == b""
    assert Rig(world).get(b"/healthz")[2] == b"ok\n"
    rig.clock.advance(3600)
    later.callback(FlowList())
    assert rig.transport.value().startswith(b"HTTP/1.1 200 OK\r\n")
    assert rig.transport.value().endswith(b"</FlowListResp>")


def test_a_client_that_does_not_wait_is_no_failure(world: Any) -> None:
    """Nothing is written to a connection that is gone, and nothing is reported."""
    rig, later = Rig(world), Deferred[FlowList]()
    world.flows = later
    rig.send(GET.replace(b"MetadataInfo", b"FlowListReq"))
    rig.channel.connectionLost(Failure(ConnectionDone()))
    later.callback(FlowList())
    assert rig.transport.value() == b""
    assert rig.events == []


def test_a_late_failure_is_500_too(world: Any) -> None:
    """What fails after the wait is an event and an answer."""
    rig, later = Rig(world), Deferred[FlowList]()
    world.flows = later
    rig.send(GET.replace(b"MetadataInfo", b"FlowListReq"))
    later.errback(RuntimeError("broken"))
    assert rig.transport.value().startswith(b"HTTP/1.1 500 ")
    assert [type(event) for event in rig.events] == [PageFailed]
