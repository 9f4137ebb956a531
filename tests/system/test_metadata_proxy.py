"""The metadata proxy on real sockets and TLS, between raw guests and bad upstreams.

Guests are loopback source addresses; the reactor is our own, in a thread, so the test
code is plain blocking sockets.
"""

from __future__ import annotations

import itertools
import re
import socket
import ssl
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.waiting import holds, wait_for
from tests.system.metadata_rig import (
    CLOSE,
    GET,
    INSTANCE,
    OK,
    SIGNATURE,
    Serving,
    Start,
    always,
    once,
    read_all,
    read_head,
    registration,
    silent,
    status_of,
)
from vagent.config.model import ClientTls
from vagent.metadata.events import ReplyRelayed
from vagent.metadata.upstream.circuit_breaker import BreakerState


def test_upstream_sees_our_four_headers_and_nothing_the_guest_forged(
    start: Start, upstream: Serving
) -> None:
    """Whatever a guest sends, Nova sees our headers, once each, and the allow-list.
    (Contrail: MetadataReqTest.)
    """
    heads: list[bytes] = []
    server = upstream(always(OK, heads))
    running = start()
    running.target(server.port)
    forged = (
        b"GET /latest//meta-data/./x?q=%2f HTTP/1.1\r\nHost: 169.254.169.254\r\n"
        b"X-Instance-ID: forged\r\nx_instance_id: forged\r\nX-Tenant-ID: forged\r\n"
        b"X-Forwarded-For: 1.2.3.4\r\nX-Metadata-Provider: forged\r\n"
        b"X-Instance-ID-Signature: forged\r\nForwarded: for=forged\r\n"
        b"X_Metadata_Provider: forged\r\nCookie: forged\r\nTE: trailers\r\n"
        b"Accept: text/plain\r\nUser-Agent: curl/8\r\nConnection: close\r\n\r\n"
    )
    assert running.ask(forged).endswith(b"\r\n\r\nhello")
    assert [
        b"GET /latest/meta-data/x?q=%2f HTTP/1.1\r\n"
        b"Host: 127.0.0.1:" + str(server.port).encode() + b"\r\n"
        b"X-Forwarded-For: 10.0.0.3\r\n"
        b"X-Instance-ID: " + INSTANCE.encode() + b"\r\n"
        b"X-Tenant-ID: 7e0000000000400080000000000000aa\r\n"
        b"X-Instance-ID-Signature: " + SIGNATURE.encode() + b"\r\n"
        b"Accept: text/plain\r\nUser-Agent: curl/8\r\n\r\n"
    ] == heads


NAMES = (
    *("x instance id", "x instance id signature", "x instance", "x tenant id"),
    *("x tenant name", "x metadata provider", "x metadata provider signature"),
    *("x forwarded for", "x forwarded host", "x forwarded proto", "x forwarded"),
)


def spellings(name: str) -> Iterator[bytes]:
    """With `-` and `_` in every place, in three cases."""
    words = name.split()
    for marks in itertools.product("-_", repeat=len(words) - 1):
        spelled = words[0] + "".join(map("".join, zip(marks, words[1:], strict=True)))
        yield from (case(spelled).encode() for case in (str, str.upper, str.title))


@pytest.mark.parametrize("name", NAMES)
def test_no_spelling_of_an_identity_reaches_the_upstream(
    name: str, start: Start, upstream: Serving
) -> None:
    """In a head, twice in a head, nominated by Connection, and in the trailers of a
    chunked body: the upstream's bytes are the same as without.
    """
    heads: list[bytes] = []
    server = upstream(always(OK, heads))
    running = start()
    running.target(server.port)
    block = (
        b"Host: 127.0.0.1:%d\r\nX-Forwarded-For: 10.0.0.3\r\nX-Instance-ID: %b\r\n"
        b"X-Tenant-ID: 7e0000000000400080000000000000aa\r\n"
        b"X-Instance-ID-Signature: %b\r\n"
        % (server.port, INSTANCE.encode(), SIGNATURE.encode())
    )
    get = b"GET /x HTTP/1.1\r\n%b\r\n" % block
    post = b"POST /x HTTP/1.1\r\n%bContent-Length: 1\r\n\r\na" % block
    one = running.connect()
    start_line, chunks = b"GET /x HTTP/1.1\r\nHost: a\r\n", b"1\r\na\r\n0\r\n"
    posted = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for spelling in spellings(name):
        field = spelling + b": forged\r\n"
        nominated = b"Connection: " + spelling + b"\r\n" + field
        for sent in (
            *(start_line + lines + b"\r\n" for lines in (field, field * 2, nominated)),
            *(posted + chunks + lines + b"\r\n" for lines in (field, field * 2)),
        ):
            one.sendall(sent)
            assert read_head(one).endswith(b"hello"), sent
            assert (post if sent.startswith(b"POST") else get) == heads.pop()
            assert [] == heads


def test_request_followed_at_once_by_fin_is_answered(
    start: Start, upstream: Serving
) -> None:
    """Some minimal clients half-close after sending; they still get their reply."""
    running = start()
    running.target(upstream(always(OK)).port)
    for _ in range(20):
        one = running.connect()
        one.sendall(GET)
        one.shutdown(socket.SHUT_WR)
        assert read_all(one).endswith(b"hello")


def test_pipelined_requests_are_answered_in_order(
    start: Start, upstream: Serving
) -> None:
    """Fifty requests in one segment: fifty answers, each to its own request."""

    def serve(connection: socket.socket, number: int) -> None:
        while head := read_head(connection):
            path = head.split(b" ", 2)[1]
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path)
            )

    running = start()
    running.target(upstream(serve).port)
    paths = [b"/latest/%d" % number for number in range(50)]
    asked = b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in paths)
    one = running.connect()
    one.sendall(asked)
    one.shutdown(socket.SHUT_WR)
    assert paths == re.findall(rb"/latest/\d+", read_all(one))


def test_keep_alive_uses_one_upstream_connection(
    start: Start, upstream: Serving
) -> None:
    """Both sides keep their connection over many requests.
    (Contrail: MetadataMultiReqTest.)
    """
    server = upstream(always(OK))
    running = start()
    running.target(server.port)
    one = running.connect()
    for _ in range(10):
        one.sendall(GET)
        assert one.recv(65536).endswith(b"hello")
    assert 1 == server.accepted


def test_unknown_guest_gets_404_at_once_and_nothing_goes_upstream(
    start: Start, upstream: Serving
) -> None:
    """No registration, no request: 404, empty, closed, counted.
    (Contrail: MetadataReqTest, no VM.)
    """
    server = upstream(always(OK))
    running = start()
    running.target(server.port)
    reply = running.ask(GET, guest=9)
    assert (
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        == (reply)
    )
    assert 0 == server.accepted
    assert ["unknown-guest"] == running.labels()


def test_without_a_service_guests_get_503_at_once(start: Start) -> None:
    """No target: 503 with Retry-After, not held.
    (Contrail: MetadataNoLinkLocalTest.)
    """
    running = start()
    begun = time.monotonic()
    reply = running.ask(CLOSE)
    assert 503 == status_of(reply)
    assert b"Retry-After: 1\r\n" in reply
    assert time.monotonic() - begun < 1.0
    assert ["no-service"] == running.labels()


def test_request_is_held_until_the_upstream_is_there(
    start: Start, upstream: Serving
) -> None:
    """A boot that asks too early waits and is answered, as soon as nova-api listens."""
    holder = socket.create_server(("127.0.0.1", 0))
    port = holder.getsockname()[1]
    holder.close()
    running = start(hold_time=6.0)
    running.target(port)
    one = running.connect()
    one.sendall(CLOSE)
    wait_for(lambda: running.snapshot().requests_waiting == 1)
    # Meanwhile attempts fail.
    holds(lambda: running.snapshot().requests_waiting == 1, seconds=0.6)
    server = socket.create_server(("127.0.0.1", port))
    connection, _ = server.accept()
    with connection:
        assert read_head(connection)
        connection.sendall(OK)
        assert read_all(one).endswith(b"hello")
    server.close()


def test_upstream_down_is_503_after_the_hold_time(start: Start) -> None:
    """Held for hold_time, then 503 with Retry-After and an empty body."""
    running = start(hold_time=1.0)
    running.target(1)
    begun = time.monotonic()
    reply = running.ask(CLOSE)
    assert 503 == status_of(reply)
    assert b"Retry-After: 1\r\n" in reply
    assert reply.endswith(b"\r\n\r\n")
    assert 0.9 < time.monotonic() - begun < 2.5
    assert "held-too-long" in running.labels()


def test_silent_upstream_is_504(start: Start, upstream: Serving) -> None:
    """No reply within response_timeout."""
    running = start(response_timeout=0.5)
    running.target(upstream(silent).port)
    assert 504 == status_of(running.ask(CLOSE))
    assert "timeout" in running.labels()


HOSTILE = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nxx",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare CR": b"HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: c\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\r\nA: b\nSet-Cookie: c\r\nContent-Length: 0\r\n\r\n",
    "obs-fold": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "1 MB header": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 1_000_000 + b"\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http\r\n\r\n",
    "other protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "status 99": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "gzip coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "less than announced": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
    "cut head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "empty": b"",
    "upgrade": b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "endless interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "control in reason": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
}


EXCESSIVE = {
    "second reply": (GET, OK + b"HTTP/1.1 200 OK\r\n\r\nsecond reply"),
    "body to HEAD": (GET.replace(b"GET", b"HEAD"), OK),
    "body of 204": (GET, b"HTTP/1.1 204 No Content\r\n\r\nhello"),
    "body of 304": (GET, b"HTTP/1.1 304 Not Modified\r\n\r\nhello"),
}


@pytest.mark.parametrize("name", EXCESSIVE)
def test_what_follows_a_reply_is_dropped_with_its_connection(
    name: str, start: Start, upstream: Serving
) -> None:
    """The guest gets the reply alone, and its next request meets another connection."""
    request, reply = EXCESSIVE[name]

    def serve(connection: socket.socket, number: int) -> None:
        if number > 1:
            always(OK)(connection, number)
            return
        once(reply)(connection, number)
        connection.recv(1)

    server = upstream(serve)
    running = start()
    running.target(server.port)
    one = running.connect()
    one.sendall(request)
    head, _, body = read_head(one).partition(b"\r\n\r\n")
    assert status_of(reply) == status_of(head)
    assert (b"hello" if name == "second reply" else b"") == body
    one.sendall(GET)
    assert read_head(one).endswith(b"\r\n\r\nhello")
    assert 2 == server.accepted


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_reply_is_502_and_its_connection_is_dropped(
    name: str, start: Start, upstream: Serving
) -> None:
    """The guest gets a clean 502, and the next request meets another connection."""

    def serve(connection: socket.socket, number: int) -> None:
        if number > 1:
            always(OK)(connection, number)
            return
        once(HOSTILE[name])(connection, number)
        if name not in ("empty", "cut head", "less than announced"):
            connection.recv(1)

    server = upstream(serve)
    running = start()
    running.target(server.port)
    one = running.connect()
    one.sendall(GET)
    assert 502 == status_of(read_head(one))
    one.sendall(GET)
    assert read_head(one).endswith(b"hello")
    assert 2 == server.accepted


def test_dripping_reply_is_502(start: Start, upstream: Serving) -> None:
    """A head that comes, and a body byte now and then: not longer than the timeout."""

    def serve(connection: socket.socket, number: int) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        while True:
            connection.sendall(b"x")
            time.sleep(0.1)

    running = start(response_timeout=0.8)
    running.target(upstream(serve).port)
    begun = time.monotonic()
    assert 502 == status_of(running.ask(CLOSE))
    assert time.monotonic() - begun < 3.0


GOOD = {
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        b"hello",
    ),
    "close-delimited": (b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
    "interim": (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, b"hello"),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_framing_reaches_the_guest_with_a_length(
    name: str, start: Start, upstream: Serving
) -> None:
    """Small replies are relayed whole, with Content-Length, whatever framed them."""
    reply, body = GOOD[name]
    running = start()
    running.target(upstream(once(reply)).port)
    head, _, content = running.ask(CLOSE).partition(b"\r\n\r\n")
    assert b"HTTP/1.1 200 OK" == head.split(b"\r\n")[0]
    assert b"Content-Length: %d" % len(body) in head.split(b"\r\n")
    assert b"chunked" not in head
    assert body == content


@pytest.mark.parametrize("status", [204, 304])
def test_replies_without_body_leave_the_connection_usable(
    status: int, start: Start, upstream: Serving
) -> None:
    """204 and 304 end with their head."""
    reply = b"HTTP/1.1 %d X\r\nETag: a\r\n\r\n" % status
    server = upstream(always(reply))
    running = start()
    running.target(server.port)
    one = running.connect()
    for _ in range(3):
        one.sendall(GET)
        assert status == status_of(read_head(one))
    assert 1 == server.accepted


def test_head_request_keeps_the_length_and_has_no_body(
    start: Start, upstream: Serving
) -> None:
    """HEAD: the length is relayed although no body follows; the connection lives.
    (Contrail: MetadataOtherMethodsTest, HEAD.)
    """
    server = upstream(always(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n"))
    running = start()
    running.target(server.port)
    one = running.connect()
    for _ in range(3):
        one.sendall(b"HEAD /latest HTTP/1.1\r\nHost: a\r\n\r\n")
        head = read_head(one)
        assert b"Content-Length: 70000\r\n" in head
        assert head.endswith(b"\r\n\r\n")
    assert 1 == server.accepted


def test_hop_by_hop_headers_of_the_reply_are_not_relayed(
    start: Start, upstream: Serving
) -> None:
    """Connection, what it nominates and Keep-Alive stop here; the rest passes."""
    reply = (
        b"HTTP/1.1 200 Fancy Reason\r\nConnection: keep-alive, X-Secret-Hop\r\n"
        b"X-Secret-Hop: a\r\nKeep-Alive: timeout=5\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 2\r\n\r\nhi"
    )
    running = start()
    running.target(upstream(always(reply)).port)
    assert (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n"
        b"Connection: close\r\n\r\nhi"
    ) == running.ask(CLOSE)


def test_stale_pooled_connection_is_retried_invisibly(
    start: Start, upstream: Serving
) -> None:
    """uWSGI closes after each reply without saying so; guests never see it."""
    server = upstream(once(OK))
    running = start()
    running.target(server.port)
    one = running.connect()
    for _ in range(30):
        one.sendall(GET)
        assert read_head(one).endswith(b"hello")
    assert 30 == server.accepted


def test_post_is_never_sent_twice(start: Start, upstream: Serving) -> None:
    """A password POST whose connection dies is a 502, and was sent exactly once."""
    heads: list[bytes] = []

    def serve(connection: socket.socket, number: int) -> None:
        while head := read_head(connection):
            heads.append(head)
            if head.startswith(b"POST"):
                return
            connection.sendall(OK)

    running = start()
    running.target(upstream(serve).port, upstream(serve).port)
    post = (
        b"POST /openstack/2013-04-04/password HTTP/1.1\r\nHost: a\r\n"
        b"Content-Length: 3\r\n\r\npwd"
    )
    one = running.connect()
    one.sendall(GET)
    read_head(one)
    one.sendall(post)
    assert 502 == status_of(read_head(one))
    assert 1 == sum(head.startswith(b"POST") for head in heads)


def test_vendor_data2_is_never_sent_twice(start: Start, upstream: Serving) -> None:
    """A second GET would reset a one-time password: 502 instead of a retry."""
    heads: list[bytes] = []

    def serve(connection: socket.socket, number: int) -> None:
        heads.append(read_head(connection))

    running = start()
    running.target(upstream(serve).port, upstream(serve).port)
    asked = b"GET /openstack/latest/%76endor_data2.json HTTP/1.1\r\nHost: a\r\n\r\n"
    one = running.connect()
    one.sendall(asked)
    assert 502 == status_of(read_head(one))
    assert 1 == len(heads)


def test_dead_endpoint_is_left_for_a_live_one(start: Start, upstream: Serving) -> None:
    """Two endpoints, one refuses: every request is answered by the other."""
    server = upstream(always(OK))
    running = start()
    running.target(1, server.port)
    for _ in range(10):
        assert running.ask(CLOSE).endswith(b"hello")
    states = [one.state.name for one in running.snapshot().endpoints]
    assert ["DOWN", "UP"] == states


def test_request_body_arrives_whole_with_one_length(
    start: Start, upstream: Serving
) -> None:
    """A chunked POST reaches the upstream with Content-Length; trailers do not."""
    heads: list[bytes] = []
    running = start()
    running.target(upstream(always(OK, heads)).port)
    post = (
        b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Instance-ID: f\r\n\r\n"
    )
    assert running.ask(post).endswith(b"hello")
    assert heads[0].endswith(b"Content-Length: 5\r\n\r\nabcde")
    assert 1 == heads[0].count(b"X-Instance-ID:")
    assert b"chunked" not in heads[0]


def test_every_method_and_a_body_in_pieces(start: Start, upstream: Serving) -> None:
    """POST, PUT and DELETE, each with `Connection: close`, arrive as they were sent and
    are answered; so does a body of 2,400 bytes in several packets.
    (Contrail: MetadataOtherMethodsTest.)
    """
    heads: list[bytes] = []
    running = start()
    running.target(upstream(always(OK, heads)).port)
    body = b"0123456789" * 240
    for method, sent in (
        (b"POST", b"short"),
        (b"POST", body),
        (b"PUT", body),
        (b"DELETE", b""),
    ):
        one = running.connect()
        head = b"%s /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" % method
        length = b"Content-Length: %d\r\n" % len(sent) if sent else b""
        one.sendall(head + length + b"\r\n" + sent[:700])
        for start_at in range(700, len(sent), 700):
            time.sleep(0.01)
            one.sendall(sent[start_at : start_at + 700])
        answer = read_all(one)
        assert 200 == status_of(answer)
        assert answer.endswith(b"hello")
        assert heads[-1].startswith(method + b" /p HTTP/1.1\r\n")
        assert heads[-1].endswith(b"\r\n\r\n" + sent)
    assert 4 == len(heads)


def test_expect_continue_is_answered_before_the_body(
    start: Start, upstream: Serving
) -> None:
    """curl waits for 100 before it sends a large body."""
    running = start()
    running.target(upstream(always(OK)).port)
    one = running.connect()
    one.sendall(
        b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == one.recv(1000)
    one.sendall(b"abc")
    assert one.recv(1000).endswith(b"hello")


def test_refusal_survives_the_bytes_that_follow_it(
    start: Start, upstream: Serving
) -> None:
    """413 reaches a guest that goes on sending: we drain before we close."""
    running = start()
    running.target(upstream(always(OK)).port)
    one = running.connect()
    one.sendall(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
    one.sendall(b"x" * 100000)
    assert 413 == status_of(read_all(one))


def test_last_reply_survives_the_bytes_that_follow_its_request(
    start: Start, upstream: Serving
) -> None:
    """A slow guest that sent more behind its last request still gets all of the reply:
    closing on unread bytes would reset, and lose what the kernel has not sent yet.
    """
    sent = threading.Event()
    body = bytes(60_000)

    def when_all_is_sent(connection: socket.socket, number: int) -> None:
        read_head(connection)
        sent.wait(10)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + body)

    running = start()
    running.target(upstream(when_all_is_sent).port)
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(10)
        one.bind(("127.0.0.2", 0))
        one.connect(("127.0.0.1", running.port))
        one.sendall(CLOSE + b"x" * 100_000)
        sent.set()
        wait_for(lambda: any(isinstance(e, ReplyRelayed) for e in running.events))
        running.snapshot()  # the turn that replied is over
        assert read_all(one).endswith(b"\r\n\r\n" + body)


def test_large_body_is_streamed_in_bounded_memory(
    start: Start, upstream: Serving
) -> None:
    """50 MB to a guest that reads slowly: this process holds no copy of it."""
    total = 50 * 1024 * 1024
    sent = 0

    def serve(connection: socket.socket, number: int) -> None:
        nonlocal sent
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        piece = b"x" * 65536
        while sent < total:
            connection.sendall(piece)
            sent += len(piece)

    running = start(response_timeout=20.0)
    running.target(upstream(serve).port)
    one = running.connect()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    one.sendall(CLOSE)
    head = one.recv(200)
    assert b"Content-Length: %d\r\n" % total in head
    # Kernel buffers on four sides, nothing more.
    holds(lambda: sent < 20 * 1024 * 1024, seconds=1.0)
    received = len(head) - head.index(b"\r\n\r\n") - 4
    while piece := one.recv(1 << 20):
        received += len(piece)
    assert total == received


def test_large_chunked_body_stays_chunked_and_whole(
    start: Start, upstream: Serving
) -> None:
    """Above the whole-reply ceiling without a length: chunked on to the guest."""
    body = bytes(range(256)) * 1024
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"1000\r\n%b\r\n" % body[at : at + 4096] for at in range(0, len(body), 4096)
    )
    running = start()
    running.target(upstream(once(reply + b"0\r\n\r\n")).port)
    head, _, rest = running.ask(CLOSE).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    content = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        content += rest[:length]
        rest = rest[length + 2 :]
    assert body == content


def test_broken_stream_cuts_the_guest(start: Start, upstream: Serving) -> None:
    """Half of a large body, then the upstream dies: the guest sees no clean end.
    (Contrail: MetadataCloseServerTest.)
    """
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100000
    running = start()
    running.target(upstream(once(reply)).port)
    one = running.connect()
    one.sendall(GET)
    with pytest.raises(ConnectionResetError):
        read_all(one)
    assert "broken-reply" in running.labels()


def test_forget_resets_the_guests_connections_and_no_other(
    start: Start, upstream: Serving
) -> None:
    """A port that goes takes its connections along, replies in flight included."""
    running = start(response_timeout=20.0)
    running.target(upstream(silent).port)
    gone, other = running.connect(2), running.connect(3)
    gone.sendall(GET)
    wait_for(lambda: running.snapshot().requests_in_flight == 1)
    running.call(lambda: running.proxy.forget("127.0.0.2"))
    with pytest.raises(ConnectionResetError):
        gone.recv(1)
    wait_for(lambda: running.snapshot().requests_in_flight == 0)
    assert 1 == running.snapshot().connections
    other.settimeout(0.2)
    with pytest.raises(TimeoutError):
        other.recv(1)


def test_connection_of_a_replaced_port_is_cut_at_its_next_request(
    start: Start, upstream: Serving
) -> None:
    """Even if nobody called forget, an old connection never speaks for a new guest."""
    server = upstream(always(OK))
    running = start()
    running.target(server.port)
    one = running.connect()
    one.sendall(GET)
    assert read_head(one).endswith(b"hello")
    running.guests["127.0.0.2"] = registration(
        2, instance="99d0524b-314d-4594-b3a3-607e3f2354f8"
    )
    one.sendall(GET)
    with pytest.raises(ConnectionResetError):
        one.recv(1)
    assert ["port-changed"] == running.labels()


def test_connection_cap_is_per_guest(start: Start, upstream: Serving) -> None:
    """The connection over the cap is told 503; another guest is served."""
    running = start(max_guest_connections=3)
    running.target(upstream(always(OK)).port)
    for _ in range(3):
        running.connect(2)
    reply = running.ask(GET, guest=2)
    assert 503 == status_of(reply)
    assert running.ask(CLOSE, guest=3).endswith(b"hello")
    assert ["too-many-connections"] == running.labels()


# TLS


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    for name in ("ca", "rogue-ca"):
        _openssl(
            folder,
            f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
            f"-subj /CN={name} -keyout {name}.key -out {name}.crt",
        )
    for name, ca, extra in (
        ("server", "ca", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
        ("wrong", "ca", "subjectAltName=IP:127.0.0.9,DNS:elsewhere"),
        ("client", "ca", "extendedKeyUsage=clientAuth"),
        ("rogue", "rogue-ca", "extendedKeyUsage=clientAuth"),
        ("impostor", "rogue-ca", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
    ):
        _openssl(
            folder,
            f"req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} "
            f"-keyout {name}.key -out {name}.csr",
        )
        (folder / f"{name}.ext").write_text(extra + "\n")
        _openssl(
            folder,
            f"x509 -req -in {name}.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial "
            f"-days 2 -extfile {name}.ext -out {name}.crt",
        )
    return folder


def _openssl(folder: Path, arguments: str) -> None:
    subprocess.run(
        ["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True
    )


def server_context(pki: Path, name: str = "server") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{name}.crt", pki / f"{name}.key")
    context.load_verify_locations(pki / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_files(pki: Path, name: str = "client") -> ClientTls:
    return ClientTls(pki / f"{name}.crt", pki / f"{name}.key", pki / "ca.crt")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_mutual_tls(
    version: ssl.TLSVersion, pki: Path, start: Start, upstream: Serving
) -> None:
    """Our certificate is presented, theirs is checked, by IP; keep-alive works.
    (Contrail: contrail-test, SSL to nova.)
    """
    context = server_context(pki)
    context.minimum_version = context.maximum_version = version
    subjects: list[object] = []

    def serve(connection: socket.socket, number: int) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        certificate = connection.getpeercert()
        assert certificate is not None
        subjects.append(certificate["subject"])
        always(OK)(connection, number)

    server = upstream(serve, context)
    running = start(tls=client_files(pki))
    running.target(server.port)
    one = running.connect()
    for _ in range(5):
        one.sendall(GET)
        assert read_head(one).endswith(b"hello")
    assert [((("commonName", "client"),),)] == subjects


def test_tls_to_a_host_name(pki: Path, start: Start, upstream: Serving) -> None:
    """A DNS name is resolved, sent as SNI and Host, and checked in the certificate."""
    heads: list[bytes] = []
    names: list[str | None] = []
    context = server_context(pki)
    context.sni_callback = lambda _s, name, _c: names.append(name)
    server = upstream(always(OK, heads), context)
    running = start(tls=client_files(pki))
    running.target(server.port, host="localhost", name="localhost")
    assert running.ask(CLOSE).endswith(b"hello")
    assert ["localhost"] == names
    assert b"Host: localhost:%d\r\n" % server.port in heads[0]


def test_sessions_are_resumed(pki: Path, start: Start, upstream: Serving) -> None:
    """An upstream that closes after each reply does not cost a full handshake each."""
    reused: list[bool | None] = []

    def serve(connection: socket.socket, number: int) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        reused.append(connection.session_reused)
        once(OK)(connection, number)
        connection.unwrap()

    running = start(tls=client_files(pki))
    running.target(upstream(serve, server_context(pki)).port)
    for _ in range(4):
        assert running.ask(CLOSE).endswith(b"hello")
        wait_for(lambda: running.snapshot().endpoints[0].idle == 0)
    assert [False, True, True, True] == reused


@pytest.mark.parametrize("server_name", ["wrong", "impostor"])
def test_unverified_server_never_sees_a_byte_of_a_request(
    server_name: str, pki: Path, start: Start, upstream: Serving
) -> None:
    """Wrong name or foreign CA: no identity header leaves; the guest gets 503."""
    seen: list[bytes] = []

    def serve(connection: socket.socket, number: int) -> None:
        seen.append(connection.recv(65536))

    running = start(tls=client_files(pki), hold_time=1.0)
    running.target(upstream(serve, server_context(pki, server_name)).port)
    assert 503 == status_of(running.ask(CLOSE))
    assert b"" == b"".join(seen)
    assert BreakerState.DOWN is running.snapshot().endpoints[0].state


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_refused_client_certificate_is_a_connect_failure(
    version: ssl.TLSVersion, pki: Path, start: Start, upstream: Serving
) -> None:
    """TLS 1.3 tells it only at the first read; still 503, and the endpoint is down."""
    context = server_context(pki)
    context.minimum_version = context.maximum_version = version
    running = start(tls=client_files(pki, "rogue"), hold_time=1.0)
    running.target(upstream(always(OK), context).port)
    assert 503 == status_of(running.ask(CLOSE))
    wait_for(lambda: running.snapshot().endpoints[0].state, BreakerState.DOWN.__eq__)


def test_old_tls_is_refused(pki: Path, start: Start, upstream: Serving) -> None:
    """Below TLS 1.2 nothing is sent."""
    context = server_context(pki)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    running = start(tls=client_files(pki), hold_time=0.5)
    running.target(upstream(always(OK), context).port)
    assert 503 == status_of(running.ask(CLOSE))


def test_files_are_read_again_when_they_change(
    pki: Path, tmp_path: Path, start: Start, upstream: Serving
) -> None:
    """A bad certificate is reported; once replaced, requests that were held go out."""
    files = ClientTls(tmp_path / "crt", tmp_path / "key", tmp_path / "ca")
    files.client_cert.write_text("not a certificate")
    files.client_key.write_bytes((pki / "client.key").read_bytes())
    files.ca_cert.write_bytes((pki / "ca.crt").read_bytes())
    running = start(tls=files, hold_time=6.0)
    running.target(upstream(always(OK), server_context(pki)).port)
    one = running.connect()
    one.sendall(CLOSE)
    wait_for(lambda: any("crt" in event.text() for event in running.events))
    files.client_cert.write_bytes((pki / "client.crt").read_bytes())
    assert read_all(one).endswith(b"hello")


def test_plain_upstream_behind_tls_configuration_gets_nothing(
    pki: Path, start: Start, upstream: Serving
) -> None:
    """A server that does not speak TLS never sees an identity."""
    seen: list[bytes] = []

    def serve(connection: socket.socket, number: int) -> None:
        seen.append(connection.recv(65536))
        connection.sendall(OK)

    running = start(tls=client_files(pki), hold_time=0.5)
    running.target(upstream(serve).port)
    assert 503 == status_of(running.ask(CLOSE))
    assert b"X-Instance-ID" not in b"".join(seen)
