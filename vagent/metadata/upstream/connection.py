"""One connection to an upstream. It carries one request at a time.

It reports to that request, and to the pool, which keeps the endpoint's circuit breaker
and gives the connection to the next request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from vagent.errors import UpstreamError, WireError
from vagent.metadata.http.headers import BODILESS
from vagent.metadata.http.response_reader import ResponseHead, ResponseReader
from vagent.metadata.limits import (
    BODY_WINDOW_SECONDS,
    MIN_BODY_RATE,
    POOLED_SECONDS,
    QUIET_SECONDS,
)
from vagent.metadata.upstream.endpoint import UpstreamEndpoint
from vagent.metadata.upstream.retry_policy import UpstreamFailure
from vagent.transport.deadlines import NEVER, Deadlines
from vagent.transport.tls import AlertReceived
from vagent.transport.wire import READ_SIZE, Wire, has_unread


class UpstreamRequest(Interface):
    """A request that a connection carries: a guest's, or a health check.

    `guest` tells guests apart. `head_only`: it is a HEAD. `binds`: the connection that
    has carried it must not serve another guest. `streaming`: parts of the response were
    relayed already.
    """

    guest: bytes
    head_only: bool
    binds: bool
    streaming: bool

    def message(self, host: bytes) -> bytes:
        """The request as bytes, with this Host."""

    def received(self, head: ResponseHead, content: bytes) -> None:
        """A part of the response; more will come."""

    def completed(self, head: ResponseHead, content: bytes) -> None:
        """The last part of the response."""

    def failed(self, failure: UpstreamFailure, detail: str) -> None:
        """No complete response will come over this connection."""


class UpstreamConnection(Protocol):
    """A connection to one endpoint.

    `ready` fires when a request may be sent, or fails with the reason why none can.
    `served` counts the responses that it brought. `parse` reads a response head.

    `guest` is the one whose request it carried last, None if it has carried none.
    `is_bound`: it must not serve another guest any more (`IdleConnections`), because of
    what it carried: a request that binds, a response without a body, or two requests of
    one guest without the quiet time between them, where the second may have got what
    was left of the first, so that a response to it may still come. `idle_since` is when
    the last response ended, `seconds` how long its request took since it was sent,
    or the failure of it.
    """

    def __init__(
        self,
        endpoint: UpstreamEndpoint,
        *,
        parse: Callable[[bytes], ResponseHead],
        deadlines: Deadlines,
        response_timeout: float,
    ) -> None:
        self.endpoint = endpoint
        self._pool = endpoint.pool
        self._deadlines = deadlines
        self._response_timeout = response_timeout
        self._reader = ResponseReader(parse)
        self._request: UpstreamRequest | None = None
        self._window = 0
        self._paused = False
        self.has_received = False
        self.served = 0
        self.guest: bytes | None = None
        self.is_bound = False
        self.idle_since = self.seconds = self._sent_at = 0.0
        self.deadline = NEVER
        self.ready: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Connected, and over TLS verified."""
        transport = cast("Any", self.transport)
        transport.setTcpNoDelay(True)
        transport.bufferSize = READ_SIZE
        self._wire = Wire(transport)
        self.deadline = self._deadlines.now() + POOLED_SECONDS
        self._deadlines.watch(self)
        if not self.ready.called:
            self.ready.callback(None)

    def not_ready(self, reason: Failure | UpstreamError) -> None:
        """Connecting failed."""
        if not self.ready.called:
            self.ready.errback(reason)

    def carry(self, request: UpstreamRequest) -> None:
        """Send a request; the connection must be idle."""
        now = self._deadlines.now()
        if not self.is_bound:
            hurries = now - self.idle_since < QUIET_SECONDS
            self.is_bound = request.binds or (hurries and request.guest == self.guest)
            self.guest = request.guest
        self._request = request
        self._reader.begin(head_only=request.head_only)
        self._sent_at = now
        self.deadline = now + self._response_timeout
        self._wire.write(request.message(self.endpoint.host))

    def dataReceived(self, data: bytes) -> None:
        """A part of a response."""
        request = self._request
        self.has_received = True
        if request is None:
            self._wire.abort()
            return
        reader = self._reader
        try:
            content, ended = reader.feed(data)
        except WireError as error:
            self._fail(UpstreamFailure.MALFORMED, str(error))
            return
        if ended:
            self._finish(content)
        elif reader.head is not None:
            self._window += len(content)
            request.received(reader.head, content)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Decide what the end of the connection means for its request."""
        self._wire.closed = True
        self._deadlines.unwatch(self)
        was_idle = self._request is None
        if self._request is not None:
            is_orderly = isinstance(reason.value, ConnectionDone)
            if is_orderly and self._reader.end_of_input():
                self._finish(b"")
            else:
                self._fail(self._kind_of_loss(reason), str(reason.value))
        refused = isinstance(reason.value, AlertReceived) and not self.has_received
        self._pool.closed(self, str(reason.value) if refused and was_idle else "")

    def expired(self) -> None:
        """The connection was idle for too long, or the upstream is too slow."""
        now = self._deadlines.now()
        if self._request is None:
            self.close()
        elif not self._request.streaming:
            if self._reader.head is None:
                self._fail(UpstreamFailure.TIMEOUT, "no reply in time")
            else:
                self._fail(UpstreamFailure.BROKEN, "reply not complete in time")
        elif self._window >= MIN_BODY_RATE * BODY_WINDOW_SECONDS:
            self._window = 0
            self.deadline = now + BODY_WINDOW_SECONDS
        else:
            self._fail(UpstreamFailure.BROKEN, "reply body drips")

    def streams(self) -> None:
        """From now on the response is relayed as it comes: its rate is watched."""
        self._window = 0
        self.deadline = self._deadlines.now() + BODY_WINDOW_SECONDS

    def pause(self) -> None:
        """The guest is slower than the upstream; stop reading."""
        if not self._paused and not self._wire.closed:
            self._paused = True
            self.deadline = NEVER
            cast("Any", self.transport).pauseProducing()

    def resume(self) -> None:
        """The guest has caught up."""
        if self._paused and not self._wire.closed:
            self._paused = False
            self.streams()
            cast("Any", self.transport).resumeProducing()

    def abandon(self) -> None:
        """Nobody waits for the response any more: close."""
        if self._request is not None:
            self._request = None
            self._pool.abandoned(self)
        self._wire.abort()

    def close(self) -> None:
        """Close in good order; only when idle."""
        self.deadline = NEVER
        self._wire.close()

    def abort(self) -> None:
        """Reset; a request that it carries fails."""
        self._wire.abort()

    @property
    def has_rested(self) -> bool:
        """Has it been idle for the quiet time?"""
        return self._deadlines.now() - self.idle_since >= QUIET_SECONDS

    @property
    def has_unread(self) -> bool:
        """Has something arrived that was not read yet? Costs a system call."""
        return has_unread(self.transport)

    @property
    def is_open(self) -> bool:
        """May a request still be sent?"""
        return not self._wire.closed

    def _finish(self, content: bytes) -> None:
        """The response is complete; its last part is `content`."""
        request, head = self._request, self._reader.head
        assert request is not None  # noqa: S101  for the type checker; callers looked
        assert head is not None  # noqa: S101  a response that ended has a head
        self._request = None
        self.served += 1
        reusable = self._reader.reusable and not (
            self._wire.closed or self._wire.pending
        )
        self.idle_since = self._deadlines.now()
        self.seconds = self.idle_since - self._sent_at
        if reusable:
            self.deadline = self.idle_since + POOLED_SECONDS
            if not self.is_bound and head.status in BODILESS:
                self.is_bound = True
        else:
            self.close()
        if self._paused:
            self._resume_reading()
        self._pool.freed(self, reusable=reusable)
        request.completed(head, content)

    def _resume_reading(self) -> None:
        self._paused = False
        if not self._wire.closed:
            cast("Any", self.transport).resumeProducing()

    def _fail(self, failure: UpstreamFailure, detail: str) -> None:
        request = self._request
        self._request = None
        self.seconds = self._deadlines.now() - self._sent_at
        self._wire.abort()
        self._pool.failed(self, failure, detail)
        if request is not None:
            request.failed(failure, detail)

    def _kind_of_loss(self, reason: Failure) -> UpstreamFailure:
        if isinstance(reason.value, AlertReceived) and not self.has_received:
            return UpstreamFailure.REFUSED
        if self._reader.started:
            return UpstreamFailure.BROKEN
        return UpstreamFailure.STALE if self.served else UpstreamFailure.EMPTY
