"""What a request does when its upstream connection fails it, and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from vagent.metadata.events import Caller
from vagent.metadata.http.request_head import RequestHead, parse_request_head
from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.upstream.circuit_breaker import CircuitBreaker
from vagent.metadata.upstream.forwarded_request import ForwardedRequest
from vagent.metadata.upstream.retry_policy import UpstreamFailure

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"


@dataclass
class Receiver:
    """Writes down what it is told."""

    told: list[str] = field(default_factory=list)

    def send_response(self, head: ResponseHead, content: bytes) -> None:
        self.told.append(f"whole {head.status} {content.decode()}")

    def relay(self, data: bytes) -> bool:
        self.told.append(f"relay {data.decode()}")
        return True

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
    reported: list[str] = field(default_factory=list)

    def submit(self, request: ForwardedRequest) -> None:
        self.submitted.append(request)

    def withdraw(self, request: ForwardedRequest) -> None:
        raise AssertionError(request)

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
