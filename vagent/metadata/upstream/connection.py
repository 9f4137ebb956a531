"""One connection to an upstream: carries one request at a time, then may be pooled.

Knows neither guests nor endpoints' health: what it sees goes to the request it
carries and to its keeper, the pool.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from vagent.errors import UpstreamError, WireError
from vagent.metadata.http.response_reader import (
    HeadParser,
    ResponseHead,
    ResponseReader,
)
from vagent.metadata.limits import BODY_WINDOW_SECONDS, MIN_BODY_RATE, POOLED_SECONDS
from vagent.metadata.upstream.retry_policy import UpstreamFailure
from vagent.transport.deadlines import NEVER, Deadlines
from vagent.transport.tls import AlertReceived
from vagent.transport.wire import READ_SIZE, Wire


class UpstreamRequest(Protocol):
    """A request on its way, as its upstream connection sees it."""

    head_only: bool
    streaming: bool

    def message(self, host: bytes) -> bytes:
        """The request as bytes."""

    def received(self, head: ResponseHead, content: bytes) -> None:
        """A part of the reply; more will come."""

    def completed(self, head: ResponseHead, content: bytes) -> None:
        """The last part of the reply."""

    def failed(self, failure: UpstreamFailure, detail: str) -> None:
        """No complete reply will come over this connection."""


class Keeper(Protocol):
    """The pool, as one of its connections sees it."""

    def freed(self, connection: UpstreamConnection, *, reusable: bool) -> None:
        """A reply is complete. If not reusable, the connection closes itself."""

    def failed(
        self, connection: UpstreamConnection, failure: UpstreamFailure, detail: str
    ) -> None:
        """The request it carried failed; the connection is closed or closing."""

    def abandoned(self, connection: UpstreamConnection) -> None:
        """Nobody waits for the reply any more; the connection is closing."""

    def gone(self, connection: UpstreamConnection, refusal: str) -> None:
        """Closed. `refusal` is not empty if a TLS alert ended it before it was used."""


class UpstreamConnection(TwistedProtocol):
    """The protocol; `host` is the value of the Host header for its endpoint.

    `ready` fires when a request may be sent, or fails with why not.
    """

    def __init__(
        self,
        keeper: Keeper,
        host: bytes,
        *,
        heads: HeadParser,
        deadlines: Deadlines,
        response_timeout: float,
    ) -> None:
        self._keeper = keeper
        self._host = host
        self._deadlines = deadlines
        self._response_timeout = response_timeout
        self._reader = ResponseReader(heads)
        self._carried: UpstreamRequest | None = None
        self._window = 0
        self._paused = False
        self.has_received = False
        self.served = 0
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

    def carry(self, carried: UpstreamRequest) -> None:
        """Send a request; the connection must be idle."""
        self._carried = carried
        self._reader.begin(head_only=carried.head_only)
        self.deadline = self._deadlines.now() + self._response_timeout
        self._wire.write(carried.message(self._host))

    def dataReceived(self, data: bytes) -> None:
        """A part of a reply."""
        carried = self._carried
        self.has_received = True
        if carried is None:
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
            carried.received(reader.head, content)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Judge what the end means for the request."""
        self._wire.closed = True
        self._deadlines.unwatch(self)
        was_idle = self._carried is None
        if self._carried is not None:
            is_orderly = isinstance(reason.value, ConnectionDone)
            if is_orderly and self._reader.end_of_input():
                self._finish(b"")
            else:
                self._fail(self._kind_of_loss(reason), str(reason.value))
        refused = isinstance(reason.value, AlertReceived) and not self.has_received
        self._keeper.gone(self, str(reason.value) if refused and was_idle else "")

    def expired(self) -> None:
        """Idle for too long, or the upstream is too slow."""
        now = self._deadlines.now()
        if self._carried is None:
            self.close()
        elif not self._carried.streaming:
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
        """From now on the reply is relayed as it comes: its rate is watched."""
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
        """Nobody waits for the reply any more."""
        if self._carried is not None:
            self._carried = None
            self._keeper.abandoned(self)
        self._wire.abort()

    def close(self) -> None:
        """Close in good order; only when idle."""
        self.deadline = NEVER
        self._wire.close()

    def abort(self) -> None:
        """Reset; a request that it carries fails."""
        self._wire.abort()

    @property
    def is_open(self) -> bool:
        """May a request still be sent?"""
        return not self._wire.closed

    def _finish(self, content: bytes) -> None:
        carried, head = self._carried, self._reader.head
        assert carried is not None  # noqa: S101  for the type checker; callers looked
        assert head is not None  # noqa: S101  a reply that ended has a head
        self._carried = None
        self.served += 1
        reusable = self._reader.reusable and not (
            self._wire.closed or self._wire.pending
        )
        if reusable:
            self.deadline = self._deadlines.now() + POOLED_SECONDS
        else:
            self.close()
        self._resume_reading()
        self._keeper.freed(self, reusable=reusable)
        carried.completed(head, content)

    def _resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if not self._wire.closed:
                cast("Any", self.transport).resumeProducing()

    def _fail(self, failure: UpstreamFailure, detail: str) -> None:
        carried = self._carried
        self._carried = None
        self._wire.abort()
        self._keeper.failed(self, failure, detail)
        if carried is not None:
            carried.failed(failure, detail)

    def _kind_of_loss(self, reason: Failure) -> UpstreamFailure:
        if isinstance(reason.value, AlertReceived) and not self.has_received:
            return UpstreamFailure.REFUSED
        if self._reader.started:
            return UpstreamFailure.BROKEN
        return UpstreamFailure.STALE if self.served else UpstreamFailure.EMPTY
