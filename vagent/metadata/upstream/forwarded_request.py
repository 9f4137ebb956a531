"""One request on its way to the upstream, until the last byte of its response.

It outlives upstream connections: a retry is the same request on another connection. A
small response is collected and passed on whole, so that a failure in its middle can
still be retried or answered with an error; a large one is streamed, as fast as the
guest takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from vagent.metadata.events import Caller
from vagent.metadata.guest.connection import DownstreamConnection
from vagent.metadata.guest.quota import is_boot_path
from vagent.metadata.http.request_head import RequestHead
from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.http.response_writer import LAST_CHUNK, chunk, relayed_head
from vagent.metadata.limits import MAX_WHOLE_REPLY
from vagent.metadata.upstream.circuit_breaker import CircuitBreaker
from vagent.metadata.upstream.connection import UpstreamConnection
from vagent.metadata.upstream.refusal_record import RefusalRecord
from vagent.metadata.upstream.retry_policy import (
    RetryStep,
    UpstreamFailure,
    next_step,
)
from vagent.metadata.upstream.times import UpstreamTimes
from vagent.observe.statistics import AT_A_TIME

_LONG_ERROR = b" "
"""Stands for the body of an error that is too large to be collected. It is not
nova-api's, whose errors are short."""


class ResponseReceiver(Protocol):
    """Who gets the response: a guest's connection, or a request that several share."""

    def send_response(self, head: ResponseHead, content: bytes) -> None:
        """The complete response."""

    def relay(self, data: bytes) -> bool:
        """A part of a large response, framed for the guest. False: pause."""

    def finish(self, status: int, size: int, *, close: bool) -> None:
        """All parts were relayed; `size` counts the body."""

    def send_local_response(self, status: int, *, close: bool) -> None:
        """There is no response; answer with this error."""

    def reset(self) -> None:
        """The rest of a response that was relayed in part will not come."""


class RequestPool(Protocol):
    """The connection pool, as a request sees it.

    `times` is how long requests took, `refusals` what nova-api refused and has not
    granted since.
    """

    times: UpstreamTimes
    refusals: RefusalRecord

    def submit(self, request: ForwardedRequest) -> None:
        """Send it as soon as a connection can carry it, or call its `give_up`."""

    def withdraw(self, request: ForwardedRequest) -> None:
        """Take back a request that waits for a connection."""

    def await_instance(
        self, request: ForwardedRequest, deliver: Callable[[], None]
    ) -> bool:
        """Let it wait until the upstream knows its instance, and pass the response that
        it got on (`deliver`) if that does not happen in time. False: pass it on now.
        """

    def has_other(self, request: ForwardedRequest) -> bool:
        """Is an endpoint up that has not failed this request?"""

    def report(self, request: ForwardedRequest, reason: str, detail: str) -> None:
        """Report that the request ends without a response, and why."""


class ForwardedRequest:
    """A request that was admitted.

    `request_id` and `caller` name it in events; `identity_headers` are the lines that
    say whose it is, and `guest` is the same, because they differ from guest to guest.
    `avoid` are the endpoints that failed it, `sent_to` is the last one that it was sent
    to. `needs_fresh`: it must have a connection that has carried nothing yet. `binds`:
    what carries it must not serve another guest after that. `hold_until` is when it
    stops waiting for a connection, or for its instance (`was_unknown`).
    """

    __slots__ = (
        "_body",
        "_collected",
        "_pool",
        "_receiver",
        "_request",
        "_size",
        "attempts",
        "avoid",
        "binds",
        "caller",
        "connection",
        "deadline",
        "guest",
        "head_only",
        "hold_until",
        "needs_fresh",
        "request_id",
        "sent_to",
        "streaming",
        "was_unknown",
    )

    def __init__(
        self,
        receiver: ResponseReceiver,
        pool: RequestPool,
        request: RequestHead,
        body: bytes,
        *,
        request_id: int,
        caller: Caller,
        identity_headers: bytes,
    ) -> None:
        self._receiver = receiver
        self._pool = pool
        self._request = request
        self._body = body
        self.guest = identity_headers
        self._collected: list[bytes] = []
        self._size = 0
        self.request_id = request_id
        self.caller = caller
        self.attempts = 0
        self.avoid: tuple[CircuitBreaker, ...] = ()
        self.sent_to: CircuitBreaker | None = None
        self.connection: UpstreamConnection | None = None
        self.deadline = 0.0
        self.hold_until = 0.0
        self.head_only = request.method == b"HEAD"
        # A pooled connection may turn out to be closed when the request is sent on it,
        # and then nobody knows whether the upstream has read the request.
        self.needs_fresh = not request.is_repeatable
        self.binds = self.needs_fresh or self.head_only
        self.streaming = self.was_unknown = False

    def message(self, host: bytes) -> bytes:
        """The request as the upstream gets it, rendered from values."""
        request = self._request
        self.attempts += 1
        if not request.forwards_body:
            return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (
                request.method,
                request.target,
                host,
                self.guest,
                request.forwarded,
            )
        return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
            request.method,
            request.target,
            host,
            self.guest,
            request.forwarded,
            len(self._body),
            self._body,
        )

    def received(self, head: ResponseHead, content: bytes) -> None:
        """Collect a part of the response, or relay it once that becomes too much."""
        self._size += len(content)
        prefix = b""
        if not self.streaming:
            self._collected.append(content)
            if max(self._size, head.length or 0) <= MAX_WHOLE_REPLY or self.head_only:
                return
            prefix = self._begin_stream(head)
            content = b"".join(self._collected)
            self._collected = []
        data = prefix + self._framed(head, content)
        if data and not self._receiver.relay(data) and self.connection is not None:
            self.connection.pause()

    def completed(self, head: ResponseHead, content: bytes) -> None:
        """The last part of the response is here."""
        connection, self.connection = self.connection, None
        if connection is not None:
            times = self._pool.times.answered
            times.pending.append(connection.seconds)
            if len(times.pending) >= AT_A_TIME:
                times.fold()
        self._size += len(content)
        if self.streaming:
            ending = LAST_CHUNK if self._is_chunked(head) else b""
            self._receiver.relay(self._framed(head, content) + ending)
            self._receiver.finish(head.status, self._size, close=self._closes(head))
            self._tell(connection, head.status, _LONG_ERROR)
            return
        if self._collected:
            self._collected.append(content)
            content = b"".join(self._collected)
        if head.awaits_instance:
            deliver = partial(self._deliver, connection, head, content)
            if self._pool.await_instance(self, deliver):
                self._collected = []
                self._size = 0
                return
        self._receiver.send_response(head, content)
        if head.status >= 400 or not self._pool.refusals.is_empty:
            self._tell(connection, head.status, content)

    def _deliver(
        self, connection: UpstreamConnection | None, head: ResponseHead, content: bytes
    ) -> None:
        """Pass on the response to a request whose instance stayed unknown."""
        self._receiver.send_response(head, content)
        self._tell(connection, head.status, content)

    @property
    def is_for_boot(self) -> bool:
        """Does it read a document that guests ask for while they boot?"""
        return self._request.is_safe and is_boot_path(self._request.path)

    def failed(self, failure: UpstreamFailure, detail: str) -> None:
        """The connection failed: retry, answer with an error, or reset the guest."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self._pool.times.failed.observe(connection.seconds)
        decision = next_step(
            failure,
            relayed=self.streaming,
            repeatable=self._request.is_repeatable,
            attempts=self.attempts,
            elsewhere=self._pool.has_other(self),
        )
        self._collected = []
        self._size = 0
        if decision.step is RetryStep.RESET:
            self._pool.report(self, failure.value, detail)
            self._receiver.reset()
        elif decision.step is RetryStep.ANSWER:
            self.give_up(decision.status, failure.value, detail)
        else:
            self.needs_fresh = self.needs_fresh or decision.step is RetryStep.AGAIN
            if decision.step is RetryStep.ELSEWHERE and self.sent_to is not None:
                self.avoid += (self.sent_to,)
            self._pool.submit(self)

    def give_up(self, status: int, reason: str, detail: str) -> None:
        """Answer with an error; `reason` is of a closed set."""
        self._pool.report(self, reason, detail)
        close = not self._request.keep_alive
        self._receiver.send_local_response(status, close=close)

    def expired(self) -> None:
        """The request has waited for a connection as long as it may."""
        self._pool.withdraw(self)
        self.give_up(503, "held-too-long", "no upstream connection in time")

    def guest_caught_up(self) -> None:
        """The guest has taken what was relayed: read on from the upstream."""
        if self.connection is not None:
            self.connection.resume()

    def guest_ended(self) -> None:
        """A guest that half-closed still gets its response."""

    def guest_left(self, connection: DownstreamConnection) -> None:
        """The only guest's connection that waited for it is closed."""
        del connection
        self.abandon()

    def abandon(self) -> None:
        """Nobody waits for the response any more."""
        if self.connection is not None:
            self.connection.abandon()
            self.connection = None
        else:
            self._pool.withdraw(self)

    def _tell(
        self, connection: UpstreamConnection | None, status: int, body: bytes
    ) -> None:
        """Tell what a reply says of endpoint and port. One to HEAD has no words, so it
        says nothing.
        """
        if connection is not None and not self.head_only:
            self._pool.refusals.note(
                str(connection.endpoint.address),
                status,
                body,
                request_id=self.request_id,
                caller=self.caller,
                path=self._request.target,
            )

    def _begin_stream(self, head: ResponseHead) -> bytes:
        self.streaming = True
        if self.connection is not None:
            self.connection.streams()
        return relayed_head(
            head,
            length=head.length,
            chunked=self._is_chunked(head),
            close=self._closes(head),
        )

    def _framed(self, head: ResponseHead, content: bytes) -> bytes:
        return chunk(content) if content and self._is_chunked(head) else content

    def _is_chunked(self, head: ResponseHead) -> bool:
        return head.length is None and self._request.minor == 1

    def _closes(self, head: ResponseHead) -> bool:
        endless = self.streaming and head.length is None and self._request.minor == 0
        return endless or not self._request.keep_alive
