"""The guest-facing side of one connection: strict HTTP/1.1 on a raw transport.

One request at a time: what a guest sends behind an unanswered request waits, bounded,
and then is not read any more. Knows nothing of identities or upstreams; its desk, the
proxy, does.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import Any, cast

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from vagent.metadata.events import Caller
from vagent.metadata.guest.client import Waiting
from vagent.metadata.guest.desk import Admission, Desk
from vagent.metadata.guest.quota import GuestQuota
from vagent.metadata.http.rendered_response import RenderedResponse
from vagent.metadata.http.request_head import RequestHead, RequestRefusal
from vagent.metadata.http.request_reader import RequestReader, RequestStage
from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.http.response_writer import (
    CONTINUE,
    local_response,
    whole_response,
)
from vagent.metadata.limits import (
    BODY_SECONDS,
    DRAIN_SECONDS,
    HEAD_SECONDS,
    IDLE_SECONDS,
    LINGER_SECONDS,
    MAX_LINGERED,
    MAX_PIPELINED,
    MIN_DRAIN_RATE,
)
from vagent.metadata.request_id import NONE
from vagent.ports.port import Registration
from vagent.transport.deadlines import NEVER, Deadlines
from vagent.transport.wire import READ_SIZE, Wire


class Phase(Enum):
    """What the connection is doing."""

    READING = "between requests, or reading one"
    REPLY = "waiting for the reply"
    LINGER = "answered for the last time; draining what the guest still sends"
    CLOSED = "closing or closed"


# Looked up by its class a member costs 70 ns in Python 3.11, eight times a request.
_READING, _REPLY = Phase.READING, Phase.REPLY
_LINGER, _CLOSED = Phase.LINGER, Phase.CLOSED
_NOTHING = RequestStage.NOTHING

_SECONDS = {
    RequestStage.NOTHING: IDLE_SECONDS,
    RequestStage.HEAD: HEAD_SECONDS,
    RequestStage.BODY: BODY_SECONDS,
}


@implementer(IHalfCloseableProtocol)
class DownstreamConnection(TwistedProtocol):
    """The protocol. The desk keeps here who the guest is, and its account."""

    def __init__(self, desk: Desk, deadlines: Deadlines) -> None:
        self._desk = desk
        self._deadlines = deadlines
        self._phase: Phase = _READING
        self._reader = RequestReader(desk.parse)
        self._stage: RequestStage = _NOTHING
        self._is_paused = False
        self._is_advancing = False
        self._has_ended = False
        self._lingered = 0
        self._is_near = False
        self.deadline = NEVER
        self.source = self.peer = ""
        self.request: RequestHead
        self.account: GuestQuota
        self.exchange: Waiting | None = None
        self.registration: Registration | None = None
        self.has_sessions = self.is_far = False
        self.caller: Caller
        self.request_id = NONE
        self.block = self.variant = b""
        self.started = 0.0

    def connectionMade(self) -> None:
        """Count the connection, or turn it away."""
        transport = cast("Any", self.transport)
        transport.setTcpNoDelay(True)
        transport.bufferSize = READ_SIZE
        self.source = self.peer = transport.getPeer().host
        self._wire = Wire(transport, self._drained)
        self.deadline = self._deadlines.now() + IDLE_SECONDS
        self._deadlines.watch(self)
        admission = self._desk.arrived(self)
        if admission is Admission.RESET:
            self.cut()
        elif admission is Admission.BUSY:
            self._wire.write(local_response(503, close=True))
            self._linger()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the guest."""
        phase = self._phase
        if phase is _LINGER:
            self._lingered += len(data)
            if self._lingered > MAX_LINGERED:
                self.cut()
            return
        self._reader.feed(data)
        if phase is _READING and not self._wire.pending:
            self._advance()
        elif self._reader.size > MAX_PIPELINED and not self._is_paused:
            self._is_paused = True
            cast("Any", self.transport).pauseProducing()

    def readConnectionLost(self) -> None:
        """The guest will send no more; what it asked is still answered."""
        self._has_ended = True
        if self._phase is not _REPLY and not self._wire.pending:
            self._close()

    def writeConnectionLost(self) -> None:
        """We closed our half; see `_linger`."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The guest has gone, or we closed."""
        self._wire.closed = True
        self._phase = _CLOSED
        self._deadlines.unwatch(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.abandoned()
            self._desk.settled(self)
        self._desk.departed(self)

    def expired(self) -> None:
        """Too slow in what it was doing."""
        self.deadline = NEVER
        if self._wire.pending:
            self._desk.cut_short(self, "slow-reader")
            self.cut()
        elif self._phase is not _READING:
            self.cut()
        elif self._stage is _NOTHING:
            self._close()
        else:
            self._refuse(RequestRefusal(408, "request not complete in time"))

    # What is done to answer the guest: see `Asker` and `Client`.

    def whole(self, head: ResponseHead, content: bytes) -> None:
        """See `Asker`."""
        request = self.request
        close = not request.keep_alive
        head_only = request.method == b"HEAD"
        self.relay(whole_response(head, content, head_only=head_only, close=close))
        self.finish(head.status, len(content), close=close)

    def deliver(self, kept: RenderedResponse) -> None:
        """See `Client`."""
        request = self.request
        if request.is_plain:
            self.relay(kept.data)
            self.finish(200, kept.size, close=False)
            return
        head_only, close = request.method == b"HEAD", not request.keep_alive
        self.relay(kept.rendered(head_only=head_only, close=close))
        self.finish(200, 0 if head_only else kept.size, close=close)

    def issue(self, data: bytes, size: int, *, hops: int) -> None:
        """Send a complete reply that gets no further than `hops`.

        Not until the next request is that taken back: a lost packet is sent again.
        """
        try:
            self._wire.limit_hops(hops)
        except OSError:
            self.cut()
            return
        self._is_near = True
        self.relay(data)
        self.finish(200, size, close=not self.request.keep_alive)

    def relay(self, data: bytes) -> bool:
        """See `Asker`."""
        self._wire.write(data)
        if self._wire.pending:
            self._expect_drain(len(data))
            return False
        return True

    def finish(self, status: int, size: int, *, close: bool) -> None:
        """See `Asker`."""
        self._desk.replied(self, status, size)
        self._next(close=close)

    def answer(self, status: int, *, close: bool, text: bytes = b"") -> None:
        """See `Asker`. `text` is the body."""
        self.relay(local_response(status, close=close, text=text))
        self._next(close=close)

    def cut(self) -> None:
        """See `Asker`."""
        self._phase = _CLOSED
        self._wire.abort()

    def _next(self, *, close: bool) -> None:
        """The request is answered: close, or read the next one."""
        if self.exchange is not None:
            self.exchange = None
            self._desk.settled(self)
        if close:
            if self._reader.size or self._is_paused:
                self._linger()
            else:
                self._close()
            return
        self._phase = _READING
        if self._wire.pending:
            return
        self._stage = _NOTHING
        self.deadline = self._deadlines.now() + IDLE_SECONDS
        if self._reader.size or self._is_paused or self._has_ended:
            self._go_on()

    def _go_on(self) -> None:
        if self._is_paused:
            self._is_paused = False
            cast("Any", self.transport).resumeProducing()
        if self._is_advancing:
            return
        self._advance()
        if self._has_ended and self._phase is _READING:
            self._close()

    def _advance(self) -> None:
        # A pipelined request that is answered at once comes back here through _next.
        if self._is_advancing:
            return
        self._is_advancing = True
        try:
            while self._phase is _READING and not self._wire.pending:
                found = self._reader.take()
                if found is None:
                    self._wait()
                    return
                if isinstance(found, RequestRefusal):
                    self._refuse(found)
                else:
                    self._complete(*found)
        finally:
            self._is_advancing = False

    def _wait(self) -> None:
        """Each stage has one deadline, set when it begins: a drip does not move it."""
        stage = self._reader.stage
        if stage is self._stage:
            return
        self._stage = stage
        self.deadline = self._deadlines.now() + _SECONDS[stage]
        if self._reader.wants_continue:
            self._wire.write(CONTINUE)

    def _complete(self, request: RequestHead, body: bytes) -> None:
        self._phase = _REPLY
        self.deadline = NEVER
        self.request = request
        self.started = self._deadlines.now()
        if self._is_near:
            self._is_near = False
            with suppress(OSError):
                self._wire.limit_hops(-1)
        self._desk.requested(self, request, body)

    def _refuse(self, refusal: RequestRefusal) -> None:
        """Answer, and close: where the next request begins is no longer known."""
        self._desk.refused(self, refusal)
        self._wire.write(local_response(refusal.status, close=True))
        self._linger()

    def _linger(self) -> None:
        """Half-close and drain: closing on unread bytes resets, and eats the reply."""
        self._reader.discard()
        if self._has_ended:
            self._close()
            return
        self._phase = _LINGER
        if self._is_paused:
            self._is_paused = False
            cast("Any", self.transport).resumeProducing()
        if self._wire.pending:
            self._expect_drain(0)
        else:
            self.deadline = self._deadlines.now() + LINGER_SECONDS
            self._wire.finish()

    def _close(self) -> None:
        """Close once everything is sent."""
        self._phase = _CLOSED
        if self._wire.pending:
            self._expect_drain(0)
        self._wire.end()

    def _expect_drain(self, size: int) -> None:
        seconds = DRAIN_SECONDS + size / MIN_DRAIN_RATE
        self.deadline = self._deadlines.now() + seconds

    def _drained(self) -> None:
        """The guest has taken what was pending."""
        self.deadline = NEVER
        if self._phase is _REPLY:
            if self.exchange is not None:
                self.exchange.caught_up()
        elif self._phase is _LINGER:
            self.deadline = self._deadlines.now() + LINGER_SECONDS
            self._wire.finish()
        elif self._phase is not _CLOSED:
            self._stage = _NOTHING
            self.deadline = self._deadlines.now() + IDLE_SECONDS
            self._go_on()
