"""One connection: what it tells its request and the pool, and when it is reused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.unit.vagent.metadata.proxy_rig import HELLO, FakeTransport
from vagent.metadata.http.response_reader import ResponseHead, parse_response_head
from vagent.metadata.limits import (
    BODY_WINDOW_SECONDS,
    MIN_BODY_RATE,
    POOLED_SECONDS,
    QUIET_SECONDS,
)
from vagent.metadata.upstream.connection import UpstreamConnection
from vagent.metadata.upstream.endpoint import UpstreamEndpoint
from vagent.metadata.upstream.retry_policy import UpstreamFailure
from vagent.metadata.upstream.target import HostPort
from vagent.transport.deadlines import TICK_SECONDS, Deadlines
from vagent.transport.tls import AlertReceived

TIMEOUT = 30.0
DONE, LOST = Failure(ConnectionDone()), Failure(ConnectionLost())
CLOSING = HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\nhello"


@dataclass
class Request:
    """A request that notes what becomes of it."""

    guest: bytes = b"guest"
    head_only: bool = False
    binds: bool = False
    streaming: bool = False
    told: list[str] = field(default_factory=list)

    def message(self, host: bytes) -> bytes:
        return b"GET for " + host

    def received(self, head: ResponseHead, content: bytes) -> None:
        self.told.append(f"received {content.decode()}")

    def completed(self, head: ResponseHead, content: bytes) -> None:
        self.told.append(f"completed {head.status} {content.decode()}")

    def failed(self, failure: UpstreamFailure, detail: str) -> None:
        self.told.append(failure.name)


class Rig:
    """A connection with its pool and transport, all of them in memory."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        pool: Any = self
        endpoint = UpstreamEndpoint(
            pool, HostPort("192.0.2.1", 8775), "nova", default_port=80
        )
        self.connection = UpstreamConnection(
            endpoint,
            parse=parse_response_head,
            deadlines=Deadlines(self.clock),
            response_timeout=TIMEOUT,
        )
        self.transport = FakeTransport()
        self.transport.protocol = self.connection
        self.connection.makeConnection(self.transport)

    def freed(self, _connection: UpstreamConnection, *, reusable: bool) -> None:
        self.told.append("reusable" if reusable else "spent")

    def failed(
        self, _connection: UpstreamConnection, failure: UpstreamFailure, _why: str
    ) -> None:
        self.told.append(failure.name)

    def abandoned(self, _connection: UpstreamConnection) -> None:
        self.told.append("abandoned")

    def closed(self, _connection: UpstreamConnection, refusal: str) -> None:
        self.told.append(f"closed {refusal}".strip())

    def carry(self, request: Request | None = None) -> Request:
        request = request or Request()
        self.connection.carry(request)
        return request

    def advance(self, seconds: float) -> None:
        self.clock.pump([TICK_SECONDS] * round(seconds / TICK_SECONDS))


def test_a_request_and_its_response() -> None:
    """The pool hears first, so that the request's end can send another one."""
    rig = Rig()
    request = rig.carry()
    assert b"GET for nova:8775" == rig.transport.take()
    rig.connection.dataReceived(HELLO[:-2])
    assert ["received hel"] == request.told
    rig.connection.dataReceived(HELLO[-2:])
    assert ["received hel", "completed 200 lo"] == request.told
    assert (["reusable"], 1) == (rig.told, rig.connection.served)
    second = rig.carry()
    rig.connection.dataReceived(HELLO)
    assert ["completed 200 hello"] == second.told
    assert ("open", 2) == (rig.transport.state, rig.connection.served)


@pytest.mark.parametrize(
    ("data", "end", "told"),
    [
        (CLOSING, None, "completed 200 hello"),
        (ENDLESS, DONE, "completed 200 "),
        (ENDLESS, LOST, "BROKEN"),
        (HELLO[:-1], DONE, "BROKEN"),
        (HELLO + b"x", None, "completed 200 hello"),
        (b"nonsense\r\n\r\n", None, "MALFORMED"),
        (b"", DONE, "EMPTY"),
        (b"", Failure(AlertReceived("bad certificate")), "REFUSED"),
    ],
)
def test_how_a_response_ends(data: bytes, end: Failure | None, told: str) -> None:
    """And in none of these cases the connection carries another request."""
    rig = Rig()
    request = rig.carry()
    if data:
        rig.connection.dataReceived(data)
    if end is not None:
        rig.connection.connectionLost(end)
    assert told == request.told[-1]
    assert "reusable" not in rig.told
    assert not rig.connection.is_open


def test_a_pooled_connection_that_ends_is_stale() -> None:
    """The upstream closed it as idle while the request was on its way."""
    rig = Rig()
    rig.carry()
    rig.connection.dataReceived(HELLO)
    request = rig.carry()
    rig.connection.connectionLost(DONE)
    assert ["STALE"] == request.told
    assert ["reusable", "STALE", "closed"] == rig.told


@pytest.mark.parametrize(
    ("data", "reason", "told"),
    [
        (b"", AlertReceived("unknown ca"), ["closed unknown ca"]),
        (b"", ConnectionDone(), ["closed"]),
        (b"x", AlertReceived("unknown ca"), ["closed"]),
    ],
)
def test_an_idle_connection_that_ends(
    data: bytes, reason: Exception, told: list[str]
) -> None:
    """An alert before the first byte says that the certificate is refused; bytes that
    nobody asked for end the connection.
    """
    rig = Rig()
    if data:
        rig.connection.dataReceived(data)
        assert "aborted" == rig.transport.state
    rig.connection.connectionLost(Failure(reason))
    assert told == rig.told


@pytest.mark.parametrize(
    ("data", "told"), [(b"", ["TIMEOUT"]), (HELLO[:-1], ["received hell", "BROKEN"])]
)
def test_a_response_has_its_time(data: bytes, told: list[str]) -> None:
    """For all of it, whatever has come."""
    rig = Rig()
    request = rig.carry()
    if data:
        rig.connection.dataReceived(data)
    rig.advance(TIMEOUT - TICK_SECONDS)
    assert told[:-1] == request.told
    rig.advance(TICK_SECONDS)
    assert (told, "aborted") == (request.told, rig.transport.state)


def test_an_idle_connection_has_its_time() -> None:
    """Then it is closed in good order."""
    rig = Rig()
    rig.advance(POOLED_SECONDS - TICK_SECONDS)
    assert "open" == rig.transport.state
    rig.advance(TICK_SECONDS)
    assert "closing" == rig.transport.state


@pytest.mark.parametrize(("surplus", "goes_on"), [(0, True), (-1, False)])
def test_a_streamed_body_has_a_rate(surplus: int, *, goes_on: bool) -> None:
    """Over each window anew, and only while the guest takes it."""
    rig = Rig()
    request = rig.carry(Request(streaming=True))
    rig.connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
    rig.connection.streams()
    rig.connection.pause()
    rig.advance(10 * BODY_WINDOW_SECONDS)
    assert "paused" == rig.transport.reading
    rig.connection.resume()
    enough = round(MIN_BODY_RATE * BODY_WINDOW_SECONDS)
    rig.connection.dataReceived(b"x" * (enough + surplus))
    rig.advance(BODY_WINDOW_SECONDS)
    assert goes_on is ("BROKEN" not in request.told)
    rig.advance(BODY_WINDOW_SECONDS)
    assert "BROKEN" in request.told


def test_what_nobody_waits_for_is_reset() -> None:
    """The pool is told at once, and the request no more."""
    rig = Rig()
    request = rig.carry()
    rig.connection.abandon()
    rig.connection.connectionLost(LOST)
    assert ([], ["abandoned", "closed"]) == (request.told, rig.told)
    assert "aborted" == rig.transport.state


NONE = b"HTTP/1.1 204 No Content\r\n\r\n"
UNCHANGED = b"HTTP/1.1 304 Not Modified\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "response", "bound"),
    [
        (Request(), HELLO, False),
        (Request(binds=True), HELLO, True),
        (Request(), NONE, True),
        (Request(), UNCHANGED, True),
    ],
)
def test_what_binds_a_connection_to_its_guest(
    request_: Request, response: bytes, *, bound: bool
) -> None:
    """A response without a body is where an upstream may send one nevertheless. Once
    it is bound it stays so.
    """
    rig = Rig()
    assert (None, False) == (rig.connection.guest, rig.connection.is_bound)
    for carried in (request_, Request()):
        rig.carry(carried)
        assert b"guest" == rig.connection.guest
        rig.connection.dataReceived(response if carried is request_ else HELLO)
        assert bound is rig.connection.is_bound
        rig.clock.advance(QUIET_SECONDS)


@pytest.mark.parametrize(("pause", "bound"), [(0.001, False), (-0.001, True)])
def test_a_hurry_binds_a_connection(pause: float, *, bound: bool) -> None:
    """What is left of a response could pass for the next one, whose own would then
    come at any time.
    """
    rig = Rig()
    rig.clock.advance(10.0)
    rig.carry()
    rig.connection.dataReceived(HELLO)
    assert (10.0, False) == (rig.connection.idle_since, rig.connection.has_rested)
    rig.clock.advance(QUIET_SECONDS + pause)
    assert bound is not rig.connection.has_rested
    rig.carry()
    assert bound is rig.connection.is_bound


def test_a_look_at_its_socket() -> None:
    """Is something there that was not read?"""
    rig = Rig()
    assert not rig.connection.has_unread
    rig.transport.unread = b"x"
    assert rig.connection.has_unread
