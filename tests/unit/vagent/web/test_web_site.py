"""Promises of vagent.web.site: its bounds, over a transport in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import create_autospec

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.http import Request

from tests.gates import open_gate
from vagent.config.model import Access, AccessMode
from vagent.observe.event import Event
from vagent.web.admission import Denial
from vagent.web.caller import Operators, SiteCaller
from vagent.web.events import CallerRefused, OperatorChange
from vagent.web.exchange import SiteReply, SiteRequest
from vagent.web.gate import Gate
from vagent.web.places import MAX_CONNECTIONS
from vagent.web.site import DISCARDED, IDLE_TIMEOUT, OperatorSite

MAX_BODY = 1000


class Echo:
    """A dialect that says what it was asked; tests give it something else to say."""

    def __init__(self) -> None:
        self.requests: list[SiteRequest] = []
        self.denials: list[tuple[str, Denial]] = []
        self.later: Deferred[SiteReply] | None = None
        self.reply: Callable[[SiteRequest], SiteReply] = lambda request: SiteReply(
            200, f"{request.method} {request.path} {len(request.body)}".encode()
        )

    async def answer(self, request: SiteRequest) -> SiteReply:
        self.requests.append(request)
        return self.reply(request) if self.later is None else await self.later

    def refuse(self, request: SiteRequest, denial: Denial) -> SiteReply:
        self.denials.append((request.method, denial))
        return SiteReply(denial.status, denial.text.encode())

    def fail(self, request: SiteRequest, error: Exception) -> SiteReply:
        return SiteReply(500, type(error).__name__.encode())


class Transport(StringTransport):
    """Remembers that it was told to close, as a socket does."""

    def abortConnection(self) -> None:
        self.disconnecting = True


class Server:
    """The site, its clock and one client's connection."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.dialect = Echo()
        self.stops = 0
        self.events: list[Event] = []
        self.site = OperatorSite(
            "test site",
            self.dialect,
            names=("localhost",),
            gate=open_gate(),
            emit=self.events.append,
            max_body=MAX_BODY,
            clock=self.clock,
            stopped=self._stopped,
        )
        self.site.doStart()
        self.channel, self.transport = self.connect()

    def _stopped(self) -> None:
        self.stops += 1

    def connect(self) -> tuple[Any, Transport]:
        transport = Transport()
        channel = self.site.buildProtocol(transport.getPeer())
        channel.makeConnection(transport)
        return channel, transport

    def send(self, *pieces: bytes) -> bytes:
        """What comes back for these bytes."""
        self.transport.clear()
        for piece in pieces:
            self.channel.dataReceived(piece)
        return bytes(self.transport.value())

    def is_closing(self) -> bool:
        return self.transport.disconnecting

    def hang_up(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def server() -> Server:
    """A fresh one, with one connection."""
    return Server()


def head(line: str, *fields: str) -> bytes:
    return "\r\n".join(
        [f"{line} HTTP/1.1", "Host: localhost", *fields, "", ""]
    ).encode()


def post(size: int, *, is_chunked: bool) -> bytes:
    body = b"x" * size
    if is_chunked:
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
        return head("POST /a", "Transfer-Encoding: chunked") + chunks
    return head("POST /a", f"Content-Length: {size}") + body


def status(answer: bytes) -> int:
    return int(answer.split()[1])


def test_a_request_as_a_value(server: Server) -> None:
    """Method, path, query, headers, body, and how the client calls this server."""
    fields = ("Accept: a", "accept: b", "If-Match: 1", "Content-Length: 2")
    server.send(head("PUT /a%20b?c=d?e", *fields) + b"{}")
    [request] = server.dialect.requests
    assert ("PUT", "/a%20b", "c=d?e") == (request.method, request.path, request.query)
    assert ("a, b", "1") == (request.headers["accept"], request.headers["if-match"])
    assert ("localhost", b"{}") == (request.authority, request.body)


def test_a_client_that_does_not_say_how_it_calls_us(server: Server) -> None:
    """Gets our own address."""
    server.send(b"GET / HTTP/1.0\r\n\r\n")
    assert "10.0.0.1:12345" == server.dialect.requests[0].authority


def test_a_reply_on_the_wire(server: Server) -> None:
    """Status, phrase, type, length, date and the dialect's headers; then the body."""
    server.dialect.reply = lambda _: SiteReply(412, b"no", "a/b", (("X-A", "1"),))
    top, _, body = server.send(head("GET /")).partition(b"\r\n\r\n")
    first, *fields = top.split(b"\r\n")
    assert (b"HTTP/1.1 412 Precondition Failed", b"no") == (first, body)
    names = [field.partition(b": ")[0] for field in fields]
    assert [b"Content-Type", b"Date", b"X-A", b"Content-Length"] == names
    server.dialect.reply = lambda _: SiteReply(404, phrase="OK")
    assert server.send(head("GET /")).startswith(b"HTTP/1.1 404 OK\r\n")


def test_head_has_no_body(server: Server) -> None:
    """Only the length of it."""
    answer = server.send(head("HEAD /abc"))
    assert b"Content-Length: 11\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_connection_carries_several_requests(server: Server) -> None:
    """Keep-alive, pipelined, answered in order."""
    answer = server.send(head("GET /1") + head("GET /2") + post(3, is_chunked=False))
    assert [b"GET /1 0", b"GET /2 0", b"POST /a 3"] == [
        part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]
    ]
    assert not server.is_closing()


def test_who_is_not_admitted_does_not_reach_the_dialect(server: Server) -> None:
    """It is told only to refuse."""
    answer = server.send(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert (421, []) == (status(answer), server.dialect.requests)
    assert [("GET", "host")] == [
        (method, denial.reason) for method, denial in server.dialect.denials
    ]


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("size", [MAX_BODY - 1, MAX_BODY])
def test_bodies_up_to_the_ceiling(server: Server, size: int, is_chunked: bool) -> None:
    """n-1 and n bytes are read."""
    answer = server.send(post(size, is_chunked=is_chunked))
    assert answer.endswith(b"POST /a %d" % size)


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("size", [MAX_BODY + 1, DISCARDED * MAX_BODY])
def test_a_longer_body_is_read_away(
    server: Server, size: int, is_chunked: bool
) -> None:
    """413 after the body, so that a client which sends first and then reads sees it;
    nothing of it was kept, and the connection goes on."""
    answer = server.send(post(size, is_chunked=is_chunked))
    assert (413, []) == (status(answer), server.dialect.requests)
    assert [("POST", 413)] == [(m, d.status) for m, d in server.dialect.denials]
    assert 200 == status(server.send(head("GET /")))


def test_an_announced_body_of_any_length_is_cut_off(server: Server) -> None:
    """413 at once, and the connection ends before a byte of the body is read."""
    answer = server.send(head("PUT /", f"Content-Length: {DISCARDED * MAX_BODY + 1}"))
    assert 413 == status(answer)
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nBody is longer than 1000 bytes")
    assert server.is_closing()
    assert b"" == server.send(b"x" * (DISCARDED * MAX_BODY + 1))
    assert [("-", 413)] == [(m, d.status) for m, d in server.dialect.denials]


def test_a_body_without_end_is_cut_off(server: Server) -> None:
    """Chunks are counted; one 413, one end of the connection."""
    server.send(head("PUT /", "Transfer-Encoding: chunked"))
    for _ in range(DISCARDED):
        assert b"" == server.send(b"%x\r\n%b\r\n" % (MAX_BODY, b"x" * MAX_BODY))
    assert not server.is_closing()
    assert 413 == status(server.send(b"1\r\nx\r\n"))
    assert server.is_closing()
    assert b"" == server.send(b"1\r\nx\r\n0\r\n\r\n")
    assert [] == server.dialect.requests


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data", "a/b; c=d"]
)
def test_a_form_is_not_parsed(server: Server, kind: str) -> None:
    """`curl -d` announces one; the body arrives as it is."""
    server.send(head("POST /", f"Content-Type: {kind}", "Content-Length: 3") + b"a=b")
    assert [b"a=b"] == [request.body for request in server.dialect.requests]


def test_silence_is_ended(server: Server) -> None:
    """After IDLE_TIMEOUT seconds without a byte."""
    server.clock.advance(IDLE_TIMEOUT - 1)
    assert not server.is_closing()
    server.clock.advance(1)
    assert server.is_closing()


def test_connections_have_a_ceiling(server: Server) -> None:
    """n are served, n+1 is closed at once, and a place that is free is free."""
    others = [server.connect() for _ in range(MAX_CONNECTIONS - 1)]
    assert not others[-1][1].disconnecting
    channel, transport = server.connect()
    assert transport.disconnecting
    channel.connectionLost(Failure(ConnectionDone()))
    server.hang_up()
    assert not server.connect()[1].disconnecting
    assert "<test site 64/64 connections>" == repr(server.site)


def test_a_reply_may_take_its_time(server: Server) -> None:
    """The client waits, idle or not; one that does not wait is no failure."""
    server.dialect.later = Deferred()
    assert b"" == server.send(head("GET /"))
    server.clock.advance(IDLE_TIMEOUT + 1)
    server.dialect.later.callback(SiteReply(200))
    assert 200 == status(server.transport.value())
    gone = Server()
    gone.dialect.later = Deferred()
    gone.send(head("GET /"))
    gone.hang_up()
    gone.dialect.later.callback(SiteReply(200))
    assert b"" == gone.transport.value()


def test_a_long_reply_lets_others_run(server: Server) -> None:
    """Each part is a turn of the reactor; a client that leaves ends it."""
    made: list[int] = []

    def parts() -> Iterator[bytes]:
        for number in range(10):
            made.append(number)
            yield b"%d" % number

    server.dialect.reply = lambda _: SiteReply(200, b"[", parts=parts())
    first = server.send(head("GET /"))
    assert b"Transfer-Encoding: chunked" in first
    assert first.endswith(b"\r\n1\r\n[\r\n1\r\n0\r\n")
    assert [0] == made
    server.clock.advance(0)
    assert server.transport.value().endswith(b"\r\n1\r\n9\r\n0\r\n\r\n")
    made.clear()
    server.send(head("GET /"))
    server.hang_up()
    server.clock.advance(0)
    assert [0, 1] == made


def test_a_fault_of_ours_is_500(server: Server) -> None:
    """The dialect says so, and the next request is answered."""

    def broken(_request: SiteRequest) -> SiteReply:
        raise KeyError("bug")

    kept, server.dialect.reply = server.dialect.reply, broken
    answer = server.send(head("GET /"))
    assert (500, b"KeyError") == (status(answer), answer.rpartition(b"\r\n")[2])
    server.dialect.reply = kept
    assert 200 == status(server.send(head("GET /")))


def test_a_fault_while_writing_costs_one_connection(server: Server) -> None:
    """Half a reply cannot become an error; the connection ends."""

    def parts() -> Iterator[bytes]:
        yield b"1"
        raise KeyError("bug")

    server.dialect.reply = lambda _: SiteReply(200, parts=parts())
    server.send(head("GET /"))
    server.clock.advance(0)
    assert server.is_closing()


def test_there_is_no_access_log_and_no_timer(server: Server) -> None:
    """Scraping would fill the one and needs not the other."""
    server.site.log(create_autospec(Request, instance=True))
    server.send(head("GET /"))
    server.hang_up()
    assert [] == server.clock.getDelayedCalls()


def test_the_end_of_the_server_is_told(server: Server) -> None:
    """Once, when it is closed."""
    assert 0 == server.stops
    server.site.doStop()
    assert 1 == server.stops


class Closed(Gate):
    """Denies, and says who asks."""

    def __init__(self, denials: list[Denial | None]) -> None:
        super().__init__(
            Access(AccessMode.OPEN),
            operators=Operators(),
            owner_of=lambda _here, _there: None,
        )
        self.denials = denials

    def denial(self, caller: SiteCaller, credentials: Sequence[str]) -> Denial | None:
        return self.denials.pop(0)


def closed(server: Server, *denials: Denial | None) -> None:
    """Close the site's gate to the next requests."""
    server.site.gate = Closed(list(denials))


WRONG_USER = Denial(403, "user", "no")


def test_a_caller_who_may_not_ask(server: Server) -> None:
    """The dialect is not asked, only told; the event says who it was."""
    closed(server, WRONG_USER)
    assert 403 == status(server.send(head("GET /a")))
    assert ([], [("GET", WRONG_USER)]) == (
        server.dialect.requests,
        server.dialect.denials,
    )
    who = "unknown user over TCP from 192.168.1.1"
    assert [CallerRefused("test site", "user", who)] == server.events


@pytest.mark.parametrize("is_chunked", [False, True])
def test_the_body_of_a_caller_who_may_not_ask(
    server: Server, *, is_chunked: bool
) -> None:
    """Is read away and not kept."""
    closed(server, WRONG_USER, WRONG_USER)
    assert 403 == status(server.send(post(500, is_chunked=is_chunked)))
    assert not server.is_closing()


def test_a_caller_who_is_another_meanwhile(server: Server) -> None:
    """It counts who asks when the request is complete."""
    closed(server, None, WRONG_USER)
    assert 403 == status(server.send(post(10, is_chunked=False)))
    assert [] == server.dialect.requests


def test_401_says_how(server: Server) -> None:
    """With a challenge (RFC 6750)."""
    closed(server, Denial(401, "token", "no"))
    assert b'\r\nWWW-Authenticate: Bearer realm="vagent"\r\n' in server.send(
        head("GET /a")
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_change_is_told_with_its_caller(server: Server, method: str) -> None:
    """One event, with the status; reading is none."""
    server.send(head("GET /a"))
    assert [] == server.events
    server.send(head(f"{method} /a?token=x"))
    who = "unknown user over TCP from 192.168.1.1"
    assert [OperatorChange("test site", method, "/a", 200, who)] == server.events
