"""One POST to a target, on transports in memory: what is sent, and what ends it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from vagent.errors import UpstreamError
from vagent.nova.vendordata.answer import MAX_ANSWER, Response, TargetError
from vagent.nova.vendordata.http_call import (
    CallDeadlines,
    Exchange,
    Post,
    TargetUrl,
    call,
)

DEADLINES = CallDeadlines(connect=3, read=5)
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\n{}"


class Talk:
    """An exchange on a transport in memory."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transport = StringTransport()
        self.exchange = Exchange(b"the request", DEADLINES, self.clock)
        self.results: list[Any] = []
        self.exchange.done.addBoth(self.results.append)

    def connect(self) -> None:
        self.exchange.makeConnection(self.transport)

    def lose(self) -> None:
        self.exchange.connectionLost(Failure(ConnectionDone()))

    def response(self) -> Response:
        (result,) = self.results
        assert isinstance(result, Response), result
        return result

    def failure(self) -> str:
        (result,) = self.results
        assert isinstance(result, Failure)
        assert isinstance(result.value, TargetError)
        assert not self.clock.getDelayedCalls(), "a timer was left behind"
        return f"{result.value.kind}: {result.value}"


@pytest.fixture
def talk() -> Talk:
    """Connected."""
    made = Talk()
    made.connect()
    return made


@pytest.mark.parametrize(
    ("url", "place", "authority"),
    [
        ("http://h", TargetUrl("h", 80, False, "/"), "h"),
        ("https://h:443/v1/", TargetUrl("h", 443, True, "/v1/"), "h"),
        ("https://h:80/?a=b", TargetUrl("h", 80, True, "/?a=b"), "h:80"),
        ("http://[::1]:81/x", TargetUrl("::1", 81, False, "/x"), "[::1]:81"),
        ("HTTP://H/x", TargetUrl("h", 80, False, "/x"), "h"),
    ],
)
def test_where_a_url_leads(url: str, place: TargetUrl, authority: str) -> None:
    """Host, port and path; the Host header without the usual port."""
    assert place == TargetUrl.of(url)
    assert authority == place.authority


def test_what_is_sent() -> None:
    """Nova's headers; credentials only where there are some, never in a repr."""
    post = Post(
        TargetUrl.of("http://h/x?y=z"), b'{"a": 1}', (("X-Auth-Token", "t0k3n"),)
    )
    head, _, body = post.rendered().partition(b"\r\n\r\n")
    assert b'{"a": 1}' == body
    assert [
        "POST /x?y=z HTTP/1.1",
        "Host: h",
        "User-Agent: openstack-nova-vendordata",
        "Accept: application/json",
        "Accept-Encoding: identity",
        "Connection: close",
        "Content-Type: application/json",
        "Content-Length: 8",
        "X-Auth-Token: t0k3n",
    ] == head.decode().split("\r\n")
    assert "t0k3n" not in repr(post)
    assert b"X-Auth-Token" not in Post(TargetUrl.of("http://h"), b"").rendered()


def test_a_reply(talk: Talk) -> None:
    """The request goes out when the connection is there; the reply is a value."""
    assert b"the request" == talk.transport.value()
    talk.exchange.dataReceived(REPLY)
    assert 200 == talk.response().status
    assert b"{}" == talk.response().content
    assert b"X: y" in talk.response().fields
    assert not talk.clock.getDelayedCalls()


def test_what_follows_a_reply_is_dropped(talk: Talk) -> None:
    """The connection carries one call, so nobody else can get it."""
    talk.exchange.dataReceived(REPLY + b"more")
    assert (200, b"{}") == (talk.response().status, talk.response().content)


@given(st.integers(1, len(REPLY) - 1))
def test_a_reply_in_two_pieces(at: int) -> None:
    """Wherever it is cut."""
    talk = Talk()
    talk.connect()
    talk.exchange.dataReceived(REPLY[:at])
    assert [] == talk.results
    talk.exchange.dataReceived(REPLY[at:])
    assert b"{}" == talk.response().content


def test_chunks(talk: Talk) -> None:
    """A chunked body is put together."""
    talk.exchange.dataReceived(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\n[\r\n1\r\n]\r\n0\r\n\r\n"
    )
    assert b"[]" == talk.response().content


def test_the_end_of_the_connection_may_be_the_end_of_the_reply(talk: Talk) -> None:
    """Without a length; with one it is a failure."""
    talk.exchange.dataReceived(b"HTTP/1.0 200 OK\r\n\r\n{}")
    talk.lose()
    assert b"{}" == talk.response().content
    short = Talk()
    short.connect()
    short.exchange.dataReceived(REPLY[:-1])
    short.lose()
    assert short.failure().startswith("closed: closed before the answer was complete")


def test_closed_without_a_word(talk: Talk) -> None:
    """What uWSGI does when an application crashes."""
    talk.lose()
    assert talk.failure().startswith("closed: ")


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 101 Upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    ],
)
def test_what_is_no_http(talk: Talk, reply: bytes) -> None:
    """The call ends at once."""
    talk.exchange.dataReceived(reply)
    assert talk.failure().startswith("malformed: ")


def test_a_huge_reply_ends_before_it_is_read(talk: Talk) -> None:
    """Of an endless body nothing is kept beyond the ceiling."""
    talk.exchange.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
    talk.exchange.dataReceived(b"x" * MAX_ANSWER)
    assert [] == talk.results
    talk.exchange.dataReceived(b"x")
    assert f"too-large: more than {MAX_ANSWER} bytes" == talk.failure()
    talk.exchange.dataReceived(b"x")
    talk.lose()


def test_no_connection_in_time() -> None:
    """Also where TCP is up, and TLS is not."""
    talk = Talk()
    talk.clock.advance(2.9)
    assert [] == talk.results
    talk.clock.advance(0.1)
    assert "timeout: no connection within 3 s" == talk.failure()
    talk.connect()
    assert b"" == talk.transport.value(), "nothing is sent after the end"


def test_no_answer_in_time(talk: Talk) -> None:
    """Silence ends the call; each piece of the answer buys time."""
    talk.clock.advance(2.9)
    talk.exchange.dataReceived(REPLY[:5])
    talk.clock.advance(4.9)
    talk.exchange.dataReceived(REPLY[5:9])
    talk.clock.advance(4.9)
    assert [] == talk.results
    talk.clock.advance(0.1)
    assert "timeout: the answer stopped within 5 s" == talk.failure()


def test_a_connection_that_is_not_to_be_had() -> None:
    """TCP's and TLS's reasons are told apart."""
    refused = Talk()
    refused.exchange.not_connected(Failure(error.ConnectionRefusedError("no")))
    assert refused.failure().startswith(
        "connect: cannot connect: Connection was refused"
    )
    unverified = Talk()
    unverified.exchange.failed(UpstreamError("TLS handshake failed: self-signed"))
    assert "tls: TLS handshake failed: self-signed" == unverified.failure()
    unverified.exchange.not_connected(Failure(CancelledError()))


def called(reactor: MemoryReactorClock, url: str) -> Deferred[Response]:
    post = Post(TargetUrl.of(url), b"{}")
    return Deferred.fromCoroutine(
        call(post, None, deadlines=DEADLINES, reactor=reactor)
    )


def test_a_call_connects_and_closes() -> None:
    """To the address of the URL; the connection is gone when the answer is there."""
    reactor = MemoryReactorClock()
    outcome = called(reactor, "http://192.0.2.7:81/")
    (host, port, factory, _timeout, _bind) = reactor.tcpClients[0]
    # Where the reactor is in memory, every name and address is 127.0.0.1.
    assert ("127.0.0.1", 81) == (host, port)
    protocol: Any = factory.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    assert transport.value().startswith(b"POST / HTTP/1.1\r\nHost: 192.0.2.7:81\r\n")
    protocol.dataReceived(REPLY)
    results: list[Any] = []
    outcome.addBoth(results.append)
    assert b"{}" == results[0].content
    assert transport.disconnecting


def test_a_cancelled_call_leaves_nothing() -> None:
    """Neither a timer nor an attempt to connect."""
    reactor = MemoryReactorClock()
    outcome = called(reactor, "http://192.0.2.7/")
    results: list[Any] = []
    outcome.addBoth(results.append)
    outcome.cancel()
    assert isinstance(results[0].value, CancelledError)
    assert not reactor.getDelayedCalls()
