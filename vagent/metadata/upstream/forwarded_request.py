"""One request of one guest, from its head to the last byte of its reply.

It outlives upstream connections (a retry is another connection, not another exchange)
but never its guest's connection. A small reply is collected and relayed whole, so that
a failure half-way can still be retried or answered; a large one is streamed, as fast
as the guest takes it.
"""

from __future__ import annotations

from typing import Protocol

from vagent.metadata.events import Caller
from vagent.metadata.http.request_head import RequestHead
from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.http.response_writer import LAST_CHUNK, chunk, relayed_head
from vagent.metadata.limits import MAX_WHOLE_REPLY
from vagent.metadata.upstream import retry_policy as retry
from vagent.metadata.upstream.circuit_breaker import CircuitBreaker
from vagent.metadata.upstream.connection import UpstreamConnection
from vagent.metadata.upstream.retry_policy import RetryStep, UpstreamFailure


class ResponseReceiver(Protocol):
    """The guest's connection, or a flight, as an exchange sees it."""

    def whole(self, head: ResponseHead, content: bytes) -> None:
        """Send a complete reply, which completes the request."""

    def relay(self, data: bytes) -> bool:
        """Send a part of the reply; False when the guest must catch up first."""

    def finish(self, status: int, size: int, *, close: bool) -> None:
        """The relayed reply is complete; `size` counts its body."""

    def answer(self, status: int, *, close: bool) -> None:
        """Send a reply of our own, which completes the request."""

    def cut(self) -> None:
        """Reset: the reply cannot be completed."""


class Carrier(Protocol):
    """The pool, as an exchange sees it."""

    def submit(self, exchange: ForwardedRequest) -> None:
        """Send it as soon as a connection may carry it, or call `give_up`."""

    def withdraw(self, exchange: ForwardedRequest) -> None:
        """It must not be sent any more."""

    def has_other(self, exchange: ForwardedRequest) -> bool:
        """Is an endpoint up that has not failed this exchange?"""

    def report(self, exchange: ForwardedRequest, reason: str, detail: str) -> None:
        """It ends without a relayed reply; say why."""


class ForwardedRequest:
    """A request that was admitted.

    `peer` is the identity address, `request_id` and `caller` are what events tell of
    it, `block` the identity headers. `avoid` are endpoints that failed it; `sent_to` is
    the last one tried.
    """

    __slots__ = (
        "_asker",
        "_body",
        "_carrier",
        "_collected",
        "_request",
        "_size",
        "attempts",
        "avoid",
        "block",
        "caller",
        "connection",
        "deadline",
        "head_only",
        "hold_until",
        "needs_fresh",
        "peer",
        "request_id",
        "sent_to",
        "streaming",
    )

    def __init__(
        self,
        asker: ResponseReceiver,
        carrier: Carrier,
        request: RequestHead,
        body: bytes,
        *,
        peer: str,
        request_id: int,
        caller: Caller,
        block: bytes,
    ) -> None:
        self._asker = asker
        self._carrier = carrier
        self._request = request
        self._body = body
        self._collected: list[bytes] = []
        self._size = 0
        self.peer = peer
        self.request_id = request_id
        self.caller = caller
        self.block = block
        self.attempts = 0
        self.avoid: tuple[CircuitBreaker, ...] = ()
        self.sent_to: CircuitBreaker | None = None
        self.connection: UpstreamConnection | None = None
        self.deadline = 0.0
        self.hold_until = 0.0
        self.head_only = request.method == b"HEAD"
        # What must not be sent twice never meets a stale pooled connection.
        self.needs_fresh = not request.is_repeatable
        self.streaming = False

    def message(self, host: bytes) -> bytes:
        """The upstream request, made from our own values and the allow-list alone."""
        request = self._request
        self.attempts += 1
        if not request.forwards_body:
            return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (
                request.method,
                request.target,
                host,
                self.block,
                request.forwarded,
            )
        return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
            request.method,
            request.target,
            host,
            self.block,
            request.forwarded,
            len(self._body),
            self._body,
        )

    def received(self, head: ResponseHead, content: bytes) -> None:
        """Collect, or pass on; a guest that is slower than the upstream pauses it."""
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
        if data and not self._asker.relay(data) and self.connection is not None:
            self.connection.pause()

    def completed(self, head: ResponseHead, content: bytes) -> None:
        """The end of the reply."""
        self.connection = None
        self._size += len(content)
        if self.streaming:
            ending = LAST_CHUNK if self._is_chunked(head) else b""
            self._asker.relay(self._framed(head, content) + ending)
            self._asker.finish(head.status, self._size, close=self._closes(head))
            return
        if self._collected:
            self._collected.append(content)
            content = b"".join(self._collected)
        self._asker.whole(head, content)

    def failed(self, failure: UpstreamFailure, detail: str) -> None:
        """The connection failed: retry, answer or cut, as the table says."""
        self.connection = None
        verdict = retry.after(
            failure,
            relayed=self.streaming,
            repeatable=self._request.is_repeatable,
            attempts=self.attempts,
            elsewhere=self._carrier.has_other(self),
        )
        self._collected = []
        self._size = 0
        if verdict.step is RetryStep.CUT:
            self._carrier.report(self, failure.value, detail)
            self._asker.cut()
        elif verdict.step is RetryStep.ANSWER:
            self.give_up(verdict.status, failure.value, detail)
        else:
            self.needs_fresh = self.needs_fresh or verdict.step is RetryStep.AGAIN
            if verdict.step is RetryStep.ELSEWHERE and self.sent_to is not None:
                self.avoid += (self.sent_to,)
            self._carrier.submit(self)

    def give_up(self, status: int, reason: str, detail: str) -> None:
        """Answer the guest ourselves."""
        self._carrier.report(self, reason, detail)
        self._asker.answer(status, close=not self._request.keep_alive)

    def expired(self) -> None:
        """Held for as long as allowed."""
        self._carrier.withdraw(self)
        self.give_up(503, "held-too-long", "no upstream connection in time")

    def caught_up(self) -> None:
        """The guest has taken what was relayed."""
        if self.connection is not None:
            self.connection.resume()

    def abandoned(self) -> None:
        """The guest has gone."""
        if self.connection is not None:
            self.connection.abandon()
            self.connection = None
        else:
            self._carrier.withdraw(self)

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
