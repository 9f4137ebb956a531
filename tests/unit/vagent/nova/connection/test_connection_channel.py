"""A connection of the metadata server: order, pace and ends."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.unit.vagent.metadata.proxy_rig import FakeTransport
from vagent.metadata.http.date import HttpDate
from vagent.nova.connection.channel import (
    IDLE_TIMEOUT,
    MAX_CHUNKED,
    MAX_KEPT,
    MetadataChannel,
)
from vagent.nova.connection.request_head import MAX_BODY, MAX_HEAD
from vagent.nova.reply import NovaReply
from vagent.nova.request import NovaRequest
from vagent.transport.deadlines import TICK_SECONDS, Deadlines

GET = b"GET /%d HTTP/1.1\r\n\r\n"
POST = b"POST /1 HTTP/1.1\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class Site:
    """Answers each request with its target and body; `held` ones later."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.date = HttpDate(float, self.clock.seconds)
        self.connections = 0
        self.refused = 0
        self.holds = False
        self.held: list[Deferred[NovaReply]] = []
        self.asked: list[NovaRequest] = []

    def enter(self) -> bool:
        self.connections += 1
        return True

    def leave(self) -> None:
        self.connections -= 1

    def report_refused_body(self) -> None:
        self.refused += 1

    def answer(self, request: NovaRequest) -> Deferred[NovaReply]:
        self.asked.append(request)
        work: Deferred[NovaReply] = Deferred()
        self.held.append(work)
        if not self.holds:
            self.release()
        return work

    def release(self) -> None:
        request = self.asked[len(self.asked) - len(self.held)]
        content = request.target + request.content
        self.held.pop(0).callback(NovaReply(200, "t", content))


class Case:
    def __init__(self) -> None:
        self.site = Site()
        self.channel = MetadataChannel(self.site)
        self.transport = FakeTransport()
        self.transport.protocol = self.channel
        transport: Any = self.transport
        self.channel.makeConnection(transport)

    def say(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    @property
    def bodies(self) -> list[bytes]:
        replies = self.transport.sent.split(b"HTTP/1.1 200 OK\r\n")[1:]
        return [reply.partition(b"\r\n\r\n")[2] for reply in replies]

    def pass_time(self, seconds: float) -> None:
        self.site.clock.advance(seconds)
        self.site.clock.advance(TICK_SECONDS)


@pytest.fixture
def case() -> Case:
    return Case()


def test_pipelined_requests_in_order(case: Case) -> None:
    """Also while the first waits for its answer; empty lines between are allowed."""
    case.site.holds = True
    case.say(b"\r\n" + GET % 1 + b"\r\n" + GET % 2 + (GET % 3)[:9])
    assert 1 == len(case.site.asked)
    case.site.release()
    assert [b"/1"] == case.bodies
    case.site.release()
    assert [b"/1", b"/2"] == case.bodies
    case.say((GET % 3)[9:])
    case.site.release()
    assert [b"/1", b"/2", b"/3"] == case.bodies


def test_what_comes_behind_an_unanswered_request(case: Case) -> None:
    """Is kept up to a ceiling, then not read until the answer is there."""
    case.site.holds = True
    case.say(GET % 1)
    case.say(b"\r\n" * (MAX_KEPT // 2))
    assert "on" == case.transport.reading
    case.say(GET % 2)
    assert "paused" == case.transport.reading
    case.site.holds = False
    case.site.release()
    assert "on" == case.transport.reading
    assert [b"/1", b"/2"] == case.bodies


def test_a_client_that_does_not_read(case: Case) -> None:
    """Gets no further answer made for it until it has taken the last one."""
    case.transport.room = 10
    case.say(GET % 1 + GET % 2)
    case.say(GET % 3)
    assert 1 == len(case.site.asked)
    case.transport.drain()
    assert [b"/1", b"/2", b"/3"] == case.bodies


def test_a_client_that_reads_nothing_for_long(case: Case) -> None:
    """Is cut off."""
    case.transport.room = 0
    case.say(GET % 1)
    case.pass_time(IDLE_TIMEOUT)
    assert "aborted" == case.transport.state


def test_a_transport_that_says_stop() -> None:
    """TLS has no socket to send on, and tells when to pause."""
    case = Case()
    case.channel.pauseProducing()
    case.say(GET % 1)
    assert [] == case.site.asked
    case.channel.resumeProducing()
    assert [b"/1"] == case.bodies


def test_a_body_in_pieces(case: Case) -> None:
    """With a length, and chunked; `100 Continue` only where nothing has come yet."""
    case.say(POST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == case.transport.take()
    for piece in (b"ab", b"cd"):
        case.say(piece)
    for byte in CHUNKED + b"2\r\nef\r\n1;x=y\r\ng\r\n0\r\nT: u\r\n\r\n":
        case.say(bytes((byte,)))
    case.say(CHUNKED + b"0\r\n\r\n" + GET % 2)
    case.say(POST + b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\nx")
    assert [b"/1abcd", b"/1efg", b"/1", b"/2", b"/1x"] == case.bodies


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (GET[:-2] % 1 + b"A: b\nC: d\r\n\r\n", 400),
        (b"GET /" + b"a" * MAX_HEAD, 431),
        (CHUNKED + b"x\r\n", 400),
        (CHUNKED + b"1;" + b"a" * 300, 400),
        (CHUNKED + b"%x\r\n" % (MAX_BODY + 1) + bytes(MAX_BODY + 1), 413),
        (CHUNKED + b"1;aaaaaaaaaa\r\na\r\n" * (MAX_CHUNKED // 17 + 2), 413),
    ],
)
def test_a_refusal_ends_the_connection(case: Case, said: bytes, status: int) -> None:
    """After the answer it is half-closed, what still comes is dropped, and in the end
    it is cut off.
    """
    case.say(said)
    assert case.transport.sent.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in case.transport.sent
    assert "half-closed" == case.transport.state
    before = case.transport.sent
    case.say(GET % 1)
    assert before == case.transport.sent
    assert (413 == status) is (1 == case.site.refused)
    case.pass_time(IDLE_TIMEOUT)
    assert "aborted" == case.transport.state


def test_the_last_request(case: Case) -> None:
    """Is answered and the connection closed; what follows it is not looked at."""
    case.say(b"GET /1 HTTP/1.0\r\n\r\n" + GET % 2)
    assert [b"/1"] == case.bodies
    assert b"Connection: close\r\n" in case.transport.sent
    assert "closing" == case.transport.state


def test_a_lost_connection(case: Case) -> None:
    """Leaves nothing, and is not written to."""
    case.site.holds = True
    case.say(GET % 1)
    work = case.site.held[0]
    case.channel.connectionLost(Failure(ConnectionDone()))
    assert (0, b"", True) == (case.site.connections, case.transport.sent, work.called)
    case.site.clock.advance(TICK_SECONDS)
    assert [] == case.site.clock.getDelayedCalls()


def test_silence_is_borne_while_a_request_waits(case: Case) -> None:
    """The time of an answer is limited elsewhere; afterwards silence counts again."""
    case.site.holds = True
    case.say(GET % 1)
    case.pass_time(IDLE_TIMEOUT)
    assert "open" == case.transport.state
    case.site.release()
    case.pass_time(IDLE_TIMEOUT)
    assert "closing" == case.transport.state
