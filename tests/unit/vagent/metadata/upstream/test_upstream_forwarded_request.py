"""What a request does when its upstream connection fails it, and what it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from vagent.metadata.events import Caller
from vagent.metadata.http.request_head import RequestHead, parse_request_head
from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.limits import MAX_WHOLE_REPLY
from vagent.metadata.upstream.circuit_breaker import CircuitBreaker
from vagent.metadata.upstream.forwarded_request import ForwardedRequest
from vagent.metadata.upstream.refusal_record import RefusalRecord
from vagent.metadata.upstream.retry_policy import UpstreamFailure
from vagent.metadata.upstream.times import UpstreamTimes
from vagent.observe.event import Event

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"


@dataclass
class Receiver:
    """Writes down what it is told."""

    told: list[str] = field(default_factory=list)
    takes_more: bool = True

    def send_response(self, head: ResponseHead, content: bytes) -> None:
        self.told.append(f"whole {head.status} {content.decode()}")

    def relay(self, data: bytes) -> bool:
        self.told.append(f"relay {data.decode()}")
        return self.takes_more

    def finish(self, status: int, size: int, *, close: bool) -> None:
        self.told.append(f"finish {status} {size} {close}")

    def send_local_response(self, status: int, *, close: bool) -> None:
        self.told.append(f"answer {status} {close}")

    def reset(self) -> None:
        self.told.append("reset")


@dataclass
class Pool:
    """A pool that says whether there is another endpoint, and keeps what it gets."""

    other: bool
    submitted: list[ForwardedRequest] = field(default_factory=list)
    withdrawn: list[ForwardedRequest] = field(default_factory=list)
    reported: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    awaited: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.refusals = RefusalRecord(self.events.append)
        self.times = UpstreamTimes()

    def submit(self, request: ForwardedRequest) -> None:
        self.submitted.append(request)

    def withdraw(self, request: ForwardedRequest) -> None:
        self.withdrawn.append(request)

    def await_instance(
        self, request: ForwardedRequest, deliver: Callable[[], None]
    ) -> bool:
        self.awaited.append(deliver)
        return True

    def has_other(self, request: ForwardedRequest) -> bool:
        return self.other

    def report(self, request: ForwardedRequest, reason: str, detail: str) -> None:
        self.reported.append(f"{reason}: {detail}")


class Rig:
    """One request that was sent once, and where it comes from and goes to."""

    def __init__(self, head: bytes = GET, *, other: bool = False) -> None:
        request = parse_request_head(head)
        assert isinstance(request, RequestHead)
        self.receiver, self.pool = Receiver(), Pool(other)
        self.request = ForwardedRequest(
            self.receiver,
            self.pool,
            request,
            b"{}",
            request_id=1,
            caller=Caller("p", "tap", "10.0.0.3"),
            identity_headers=b"X-Instance-ID: i\r\n",
        )
        self.request.message(b"nova")
        self.request.sent_to = self.sent_to = CircuitBreaker()


def test_a_reply_that_waited_is_passed_on_and_told_of_its_endpoint() -> None:
    """As one that is passed on at once: an error is judged by its endpoint."""
    rig = Rig()
    at: Any = SimpleNamespace(
        endpoint=SimpleNamespace(address="192.0.2.1:8775"), seconds=0.0
    )
    rig.request.connection = at
    unknown = ResponseHead(403, b"", 32, False, True, awaits_instance=True)
    rig.request.completed(unknown, b"Invalid proxy request signature.")
    assert [] == rig.receiver.told
    (deliver,) = rig.pool.awaited
    deliver()
    assert ["whole 403 Invalid proxy request signature."] == rig.receiver.told
    assert 1 == len(rig.pool.events)


def test_a_reply_that_waited_is_not_counted_with_the_next() -> None:
    """The size that is told is that of the response that the guest gets."""
    rig = Rig()
    unknown = ResponseHead(404, b"", 2, False, True, awaits_instance=True)
    rig.request.completed(unknown, b"no")
    size = MAX_WHOLE_REPLY + 1
    large = ResponseHead(200, b"", size, False, True)
    rig.request.received(large, b"x" * size)
    rig.request.completed(large, b"")
    assert f"finish 200 {size} False" == rig.receiver.told[-1]


@pytest.mark.parametrize(
    ("failure", "other", "needs_fresh"),
    [
        (UpstreamFailure.STALE, False, True),
        (UpstreamFailure.STALE, True, True),
        (UpstreamFailure.EMPTY, True, False),
        (UpstreamFailure.BROKEN, True, False),
        (UpstreamFailure.REFUSED, False, False),
    ],
)
def test_only_a_stale_connection_makes_it_ask_for_a_fresh_one(
    failure: UpstreamFailure, *, other: bool, needs_fresh: bool
) -> None:
    """Another endpoint's pooled connection, or one that waited, is as good as new."""
    rig = Rig(other=other)
    rig.request.failed(failure, "detail")
    assert [rig.request] == rig.pool.submitted
    assert needs_fresh is rig.request.needs_fresh
    assert ([], []) == (rig.receiver.told, rig.pool.reported)


def test_once_it_needs_a_fresh_one_it_needs_it_for_good() -> None:
    """A later failure of another kind does not send it back to pooled ones."""
    rig = Rig(other=True)
    rig.request.failed(UpstreamFailure.STALE, "detail")
    rig.request.failed(UpstreamFailure.EMPTY, "detail")
    assert rig.request.needs_fresh is True


@pytest.mark.parametrize(("head", "needs_fresh"), [(GET, False), (POST, True)])
def test_what_must_not_be_sent_twice_never_meets_a_pooled_connection(
    head: bytes, *, needs_fresh: bool
) -> None:
    """From the beginning: a stale one would fail it for good."""
    assert needs_fresh is Rig(head).request.needs_fresh


@pytest.mark.parametrize(
    ("failure", "avoids"),
    [
        (UpstreamFailure.STALE, False),
        (UpstreamFailure.EMPTY, True),
        (UpstreamFailure.REFUSED, False),
    ],
)
def test_an_endpoint_that_failed_it_is_avoided(
    failure: UpstreamFailure, *, avoids: bool
) -> None:
    """When it goes elsewhere; a stale connection is no fault of its endpoint's."""
    rig = Rig(other=True)
    rig.request.failed(failure, "detail")
    assert ((rig.sent_to,) if avoids else ()) == rig.request.avoid


@pytest.mark.parametrize(
    ("head", "failure", "told"),
    [
        (POST, UpstreamFailure.STALE, "answer 502 False"),
        (GET, UpstreamFailure.TIMEOUT, "answer 504 False"),
        (
            GET[:-2] + b"Connection: close\r\n\r\n",
            UpstreamFailure.EMPTY,
            "answer 502 True",
        ),
    ],
)
def test_what_cannot_be_retried_is_answered(
    head: bytes, failure: UpstreamFailure, told: str
) -> None:
    """And told once, with the reason."""
    rig = Rig(head)
    rig.request.failed(failure, "detail")
    assert [told] == rig.receiver.told
    assert [f"{failure.value}: detail"] == rig.pool.reported
    assert [] == rig.pool.submitted


CLOSING = GET[:-2] + b"Connection: close\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
HALF = "h" * (MAX_WHOLE_REPLY // 2)


def response(length: int | None, status: int = 200) -> ResponseHead:
    """The head of the upstream's response."""
    return ResponseHead(status, b"A: b\r\n", length, chunked=False, persistent=True)


def test_the_request_as_the_upstream_gets_it() -> None:
    """Sent again it is the same; each time counts. A body has its length."""
    rig = Rig()
    expected = b"GET / HTTP/1.1\r\nHost: nova\r\nX-Instance-ID: i\r\n\r\n"
    assert [expected] * 2 == [rig.request.message(b"nova") for _ in range(2)]
    assert 3 == rig.request.attempts
    assert (
        b"POST / HTTP/1.1\r\nHost: nova\r\nX-Instance-ID: i\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    ) == Rig(POST).request.message(b"nova")


def test_a_small_response_is_relayed_whole() -> None:
    """When its last part is here, and not before; of nothing but its parts."""
    rig = Rig()
    rig.request.received(response(None), b"one ")
    rig.request.received(response(None), b"two ")
    assert [] == rig.receiver.told
    rig.request.completed(response(None), b"three")
    assert ["whole 200 one two three"] == rig.receiver.told
    assert not rig.request.streaming


@pytest.mark.parametrize(("surplus", "is_whole"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("is_announced", [False, True])
def test_how_large_a_response_may_be_to_be_relayed_whole(
    surplus: int, *, is_whole: bool, is_announced: bool
) -> None:
    """n-1, n, n+1 bytes, announced or as they come in two parts."""
    size = MAX_WHOLE_REPLY + surplus
    rig = Rig()
    head = response(size if is_announced else None)
    rig.request.received(head, b"" if is_announced else b"a" * (size // 2))
    if not is_announced:
        rig.request.received(head, b"a" * (size - size // 2))
    assert is_whole is (not rig.request.streaming)


def test_what_head_is_told_is_never_streamed() -> None:
    """However large what it announces."""
    rig = Rig(GET.replace(b"GET", b"HEAD"))
    rig.request.received(response(MAX_WHOLE_REPLY + 1), b"")
    rig.request.completed(response(MAX_WHOLE_REPLY + 1), b"")
    assert ["whole 200 "] == rig.receiver.told


@pytest.mark.parametrize(
    ("request_", "length", "framing", "closes"),
    [
        (GET, 70_000, "Content-Length: 70000", False),
        (CLOSING, 70_000, "Content-Length: 70000\r\nConnection: close", True),
        (OLD, 70_000, "Content-Length: 70000\r\nConnection: close", True),
        (OLD, None, "Connection: close", True),
    ],
)
def test_a_large_response_is_streamed(
    request_: bytes, length: int | None, framing: str, *, closes: bool
) -> None:
    """What was collected with the head, then each part; to HTTP/1.0 without a length
    its end is that of the connection.
    """
    rig = Rig(request_)
    head = response(length)
    for part in (HALF, HALF, "more"):
        rig.request.received(head, part.encode())
    rig.request.completed(head, b"end")
    size = 2 * len(HALF) + 7
    streamed = "".join(told.removeprefix("relay ") for told in rig.receiver.told[:-1])
    start = f"HTTP/1.1 200 OK\r\nA: b\r\n{framing}\r\n\r\n"
    assert start + HALF + HALF + "moreend" == streamed
    assert f"finish 200 {size} {closes}" == rig.receiver.told[-1]


def test_a_large_response_without_a_length_is_chunked() -> None:
    """An empty part is none: it would be the end."""
    rig = Rig()
    head = response(None)
    for part in (HALF, HALF + "x", "", "more"):
        rig.request.received(head, part.encode())
    rig.request.completed(head, b"")
    assert [
        "relay HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n"
        f"{2 * len(HALF) + 1:x}\r\n{HALF}{HALF}x\r\n",
        "relay 4\r\nmore\r\n",
        "relay 0\r\n\r\n",
        f"finish 200 {2 * len(HALF) + 5} False",
    ] == rig.receiver.told


def test_a_retry_starts_with_nothing() -> None:
    """What the first endpoint said is forgotten, its size as well."""
    rig = Rig(other=True)
    rig.request.received(response(None), HALF.encode())
    rig.request.failed(UpstreamFailure.BROKEN, "detail")
    rig.request.received(response(None), HALF.encode())
    rig.request.received(response(None), HALF.encode())
    assert not rig.request.streaming
    rig.request.completed(response(None), b"")
    assert [f"whole 200 {HALF}{HALF}"] == rig.receiver.told


def test_every_endpoint_that_failed_it_is_avoided() -> None:
    """Not only the last one."""
    rig = Rig(other=True)
    first = rig.request.sent_to
    rig.request.failed(UpstreamFailure.EMPTY, "detail")
    rig.request.attempts, rig.request.sent_to = 0, CircuitBreaker()
    rig.request.failed(UpstreamFailure.EMPTY, "detail")
    assert (first, rig.request.sent_to) == rig.request.avoid


def test_what_was_streamed_and_breaks_is_reset() -> None:
    """The guest has a part of it: nothing else would be honest."""
    rig = Rig(other=True)
    rig.request.received(response(MAX_WHOLE_REPLY + 1), b"a")
    rig.request.failed(UpstreamFailure.BROKEN, "detail")
    assert "reset" == rig.receiver.told[-1]
    assert ["broken-reply: detail"] == rig.pool.reported


def test_one_that_waited_too_long_is_answered() -> None:
    """It waits no more, and the reason is told."""
    rig = Rig()
    rig.request.expired()
    assert [rig.request] == rig.pool.withdrawn
    assert ["answer 503 False"] == rig.receiver.told
    why = "held-too-long: no upstream connection in time"
    assert [why] == rig.pool.reported


def test_before_it_waits_it_has_no_deadline() -> None:
    """Zero is no time of the clock's."""
    assert (0.0, 0.0) == (Rig().request.deadline, Rig().request.hold_until)
