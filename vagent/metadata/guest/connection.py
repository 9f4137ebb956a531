"""The downstream connection: strict HTTP/1.1 with one guest, on a raw transport.

It answers one request at a time. What a guest sends behind an unanswered request is
kept up to a ceiling; then its socket is not read any more. The connection knows nothing
of ports, quotas or upstreams: for these it calls the proxy (`callbacks`).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, cast

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from vagent.metadata.events import Caller
from vagent.metadata.guest.callbacks import (
    Admission,
    DownstreamCallbacks,
    PendingResponse,
)
from vagent.metadata.guest.cloud_init import takes_503_for_final
from vagent.metadata.guest.identity_headers import GuestIdentity
from vagent.metadata.guest.quota import GuestQuota
from vagent.metadata.http.date import DateLine
from vagent.metadata.http.rendered_response import RenderedResponse
from vagent.metadata.http.request_head import RequestHead, RequestRefusal
from vagent.metadata.http.request_reader import RequestReader, RequestStage
from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.http.response_writer import (
    CONTINUE,
    local_response,
    token_response,
    whole_response,
)
from vagent.metadata.limits import (
    BODY_SECONDS,
    DRAIN_SECONDS,
    HEAD_SECONDS,
    IDLE_AFTER_404_SECONDS,
    IDLE_SECONDS,
    LINGER_SECONDS,
    MAX_LINGERED,
    MAX_PIPELINED,
    MAX_REQUESTS_PER_TURN,
    MIN_DRAIN_RATE,
    OVER_RATE_SECONDS,
    PROBE_AFTER_SECONDS,
    PROBE_SECONDS,
    PROBES,
)
from vagent.metadata.request_id import NONE
from vagent.ports.port import Registration
from vagent.transport.deadlines import NEVER, Deadlines
from vagent.transport.turns import Turns
from vagent.transport.wire import READ_SIZE, Wire, has_unread


class Phase(Enum):
    """What the connection is doing."""

    READING = "between requests, or reading one"
    RESPONDING = "waiting for the response to a request, or sending it"
    PAUSED = "not read for a while, because the guest asks too often"
    LINGERING = "answered for the last time; draining what the guest still sends"
    CLOSED = "closing or closed"


# Members of enums as plain names: in Python 3.11 `Phase.READING` costs 70 ns, and each
# request needs eight of them.
_READING, _RESPONDING = Phase.READING, Phase.RESPONDING
_PAUSED, _LINGERING, _CLOSED = Phase.PAUSED, Phase.LINGERING, Phase.CLOSED
_NOTHING = RequestStage.NOTHING

_STAGE_SECONDS = {
    RequestStage.NOTHING: IDLE_SECONDS,
    RequestStage.HEAD: HEAD_SECONDS,
    RequestStage.BODY: BODY_SECONDS,
}


@implementer(IHalfCloseableProtocol)
class DownstreamConnection(Protocol):
    """One connection of a guest.

    The proxy notes here who the guest is: `source` is the identity address that the
    connection comes from, `main_identity` that of the port (the same, unless the port
    has several addresses), `is_far` whether it came over more hops than allowed,
    `is_over_rate` that the connection shall pause after the next response.
    `has_ended`: the guest will send no more; it may have closed.
    """

    _lingered = 0
    # Few connections linger. With 30 attributes set, CPython 3.11 would give each
    # connection a dictionary of its own, and every access would cost more.

    def __init__(
        self,
        callbacks: DownstreamCallbacks,
        deadlines: Deadlines,
        turns: Turns,
        parse: Callable[[bytes], RequestHead | RequestRefusal],
        date: DateLine,
    ) -> None:
        self._callbacks = callbacks
        self._date = date
        self._deadlines = deadlines
        self._turns = turns
        self._phase: Phase = _READING
        self._reader = RequestReader(parse)
        self._stage: RequestStage = _NOTHING
        self._is_paused = False
        self._is_advancing = False
        self._waits_turn = False
        self._is_leaving = False
        self.deadline = NEVER
        self.source = self.main_identity = ""
        self.request: RequestHead
        self.quota: GuestQuota
        self.caller: Caller
        self.identity: GuestIdentity
        self.pending: PendingResponse | None = None
        self.registration: Registration | None = None
        self.has_sessions = self.is_far = self.is_over_rate = False
        self.has_ended = False
        self.request_id = NONE
        self.started = 0.0

    def connectionMade(self) -> None:
        """Have the connection counted; refuse it where there are too many."""
        transport = cast("Any", self.transport)
        transport.setTcpNoDelay(True)
        transport.bufferSize = READ_SIZE
        self.source = self.main_identity = transport.getPeer().host
        self._wire = Wire(transport, self._drained)
        self.deadline = self._deadlines.now() + IDLE_SECONDS
        self._deadlines.watch(self)
        admission = self._callbacks.connection_made(self)
        if admission is Admission.RESET:
            self.reset()
        elif admission is Admission.BUSY:
            self._wire.write(local_response(503, close=True, date=self._date()))
            self._callbacks.error_sent(503)
            self._linger()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the guest."""
        phase = self._phase
        if phase is _READING and not (
            self._wire.pending or self._is_advancing or self._waits_turn
        ):
            self._advance(data)
        elif phase is _LINGERING:
            self._lingered += len(data)
            if self._lingered > MAX_LINGERED:
                self.reset()
        else:
            self._reader.feed(data)
            if self._reader.size > MAX_PIPELINED:
                self._stop_reading()

    def readConnectionLost(self) -> None:
        """The guest will send no more; what it asked is still answered."""
        self.has_ended = True
        if self.pending is not None:
            self.pending.guest_ended()
            return
        is_busy = self._phase is _RESPONDING or self._waits_turn
        if not is_busy and not self._wire.pending:
            self._close()

    def writeConnectionLost(self) -> None:
        """The half-close of `_linger` is done; there is nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The guest has gone, or we closed."""
        self._wire.closed = True
        self._phase = _CLOSED
        self._deadlines.unwatch(self)
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.guest_left(self)
            self._callbacks.request_done(self)
        self._callbacks.connection_lost(self)

    def expired(self) -> None:
        """The guest took longer than allowed for what it is doing."""
        self.deadline = NEVER
        if self._wire.pending:
            self._callbacks.connection_reset(self, "slow-reader")
            self.reset()
        elif self._phase is _PAUSED:
            self._phase, self._stage = _READING, _NOTHING
            self.deadline = self._deadlines.now() + IDLE_SECONDS
            self._wait_for_turn()
        elif self._phase is not _READING:
            self.reset()
        elif self._stage is _NOTHING:
            self._close()
        else:
            self._refuse(RequestRefusal(408, "request not complete in time"))

    # How a request is answered: by exactly one of `send_response`, `send_rendered`,
    # `send_token`, `send_local_response`, `relay` and then `finish`, or `reset`.

    def send_response(self, head: ResponseHead, content: bytes) -> None:
        """Send a complete response of the upstream."""
        request = self.request
        close = not request.keep_alive
        head_only = request.method == b"HEAD"
        self.relay(whole_response(head, content, head_only=head_only, close=close))
        self.finish(head.status, len(content), close=close)

    def send_rendered(self, response: RenderedResponse) -> None:
        """Send a response (200) that was rendered before."""
        request = self.request
        if request.is_plain:
            self.relay(response.data)
            self.finish(200, response.size, close=False)
            return
        head_only, close = request.method == b"HEAD", not request.keep_alive
        self.relay(response.variant(head_only=head_only, close=close))
        self.finish(200, 0 if head_only else response.size, close=close)

    def send_token(self, token: bytes, ttl: int, *, hops: int) -> None:
        """Send a session token in packets that travel no further than `hops`.

        The limit is never lifted: retransmissions travel as far as the limit at their
        time allows, so a second request could otherwise get the token further.
        """
        try:
            self._wire.limit_hops(hops)
        except OSError:
            self.reset()
            return
        request = self.request
        close = not request.keep_alive
        self.relay(
            token_response(
                token, ttl, request.session.family, close=close, date=self._date()
            )
        )
        self.finish(200, len(token), close=close)

    def send_local_response(
        self, status: int, *, close: bool, text: bytes = b""
    ) -> None:
        """Send a response of the agent's own; `text` is its body. Instead of a 503 that
        the guest would take for final, close; but not where it is over its rate and
        shall pause, as each connection costs more than a refusal.
        """
        if (
            status == 503
            and not self.is_over_rate
            and takes_503_for_final(self.request)
        ):
            self._callbacks.answer_withheld(self)
            self._next(close=True)
            return
        self.relay(local_response(status, close=close, date=self._date(), text=text))
        self._callbacks.request_failed(self, status)
        self._next(close=close)

    def relay(self, data: bytes) -> bool:
        """Send a part of a response. False: wait until the guest has taken it."""
        self._wire.write(data)
        if self._wire.pending:
            self._expect_drain(len(data))
            return False
        return True

    def probe_guest(self) -> None:
        """Find out by TCP's keepalive whether the guest is still there."""
        self._wire.probe_peer(PROBE_AFTER_SECONDS, PROBE_SECONDS, PROBES)

    def finish(self, status: int, size: int, *, close: bool) -> None:
        """All parts of the response were sent; `size` counts its body."""
        self._callbacks.response_sent(self, status, size)
        self._next(close=close)
        if status == 404 and self._phase is _READING and self._stage is _NOTHING:
            soon = self._deadlines.now() + IDLE_AFTER_404_SECONDS
            self.deadline = min(self.deadline, soon)

    def reset(self) -> None:
        """Reset the connection, for example because a response cannot be completed."""
        self._phase = _CLOSED
        self._wire.abort()

    # While the agent stops, `Drain` looks at each connection from time to time.

    @property
    def answering(self) -> int:
        """The number of the request that waits for its answer, or gets it; else 0."""
        return self.request_id if self._phase is _RESPONDING else NONE

    def leave(self, *, idle_since: float, complete_by: float) -> None:
        """Close if it has been idle since then and nothing has arrived, else after the
        next response, which says so. A request that is being read shall be complete by
        then (the clock's seconds).
        """
        if self._phase is _READING and not (self._wire.pending or self._waits_turn):
            if self._stage is not _NOTHING:
                self.deadline = min(self.deadline, complete_by)
            elif self.deadline - IDLE_SECONDS <= idle_since:
                if not has_unread(self.transport):
                    self._close()
                return
        if not self._is_leaving:
            self._is_leaving = True
            if self._phase is _RESPONDING:
                self.request = self.request.for_the_last_time()

    def _next(self, *, close: bool) -> None:
        """The request is answered: close, or read the next one."""
        if self.pending is not None:
            self.pending = None
            self._callbacks.request_done(self)
        if close:
            if self._reader.size or self._is_paused:
                self._linger()
            else:
                self._close()
            return
        self._phase = _READING
        if self.is_over_rate:
            self._pause()
        if self._wire.pending or self._phase is _PAUSED:
            return
        self._stage = _NOTHING
        self.deadline = self._deadlines.now() + IDLE_SECONDS
        if self._reader.size or self._is_paused or self.has_ended:
            self._go_on()

    def _pause(self) -> None:
        """Read nothing for a while. So the requests of a guest over its rate cost less
        than those that are served, however many it sends.
        """
        self.is_over_rate = False
        self._phase = _PAUSED
        self._stop_reading()
        if not self._wire.pending:
            self.deadline = self._deadlines.now() + OVER_RATE_SECONDS

    def _stop_reading(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            cast("Any", self.transport).pauseProducing()

    def _go_on(self) -> None:
        """Read what came behind the request that was just answered."""
        if self._waits_turn:
            return
        if self._is_paused:
            self._is_paused = False
            cast("Any", self.transport).resumeProducing()
        if self._is_advancing:
            return  # `_advance`, which called this through `_next`, goes on itself
        self._advance()
        if self.has_ended and self._phase is _READING and not self._waits_turn:
            self._close()

    def _wait_for_turn(self) -> None:
        """Go on later: others that wait have their turn first."""
        self._waits_turn = True
        self._turns.later(self._take_turn)

    def _take_turn(self) -> None:
        """Others had their turn: go on with the requests that are here."""
        self._waits_turn = False
        if self._phase is _READING and not self._wire.pending:
            self._go_on()

    def _advance(self, data: bytes = b"") -> None:
        """Take one whole request after another, until one has to wait for an answer, or
        so many were answered that it is the turn of others.
        """
        self._is_advancing = True
        left = MAX_REQUESTS_PER_TURN
        try:
            while self._phase is _READING and not self._wire.pending:
                if left <= 0:
                    if self._reader.size:
                        self._wait_for_turn()
                    return
                left -= 1
                found = self._reader.take(data)
                data = b""
                if found is None:
                    self._wait()
                    return
                if isinstance(found, RequestRefusal):
                    self._refuse(found)
                else:
                    self._begin(*found)
        finally:
            self._is_advancing = False

    def _wait(self) -> None:
        """Each stage of a request has one deadline, set when the stage begins, so a
        guest that sends byte by byte gains no time.
        """
        stage = self._reader.stage
        if stage is self._stage:
            return
        self._stage = stage
        self.deadline = self._deadlines.now() + _STAGE_SECONDS[stage]
        if self._reader.wants_continue:
            self._wire.write(CONTINUE)

    def _begin(self, request: RequestHead, body: bytes) -> None:
        """A request is complete: have it answered."""
        if self._is_leaving:
            request = request.for_the_last_time()
        self._phase = _RESPONDING
        self.deadline = NEVER
        self.request = request
        self.started = self._deadlines.now()
        self._callbacks.request_received(self, request, body)

    def _refuse(self, refusal: RequestRefusal) -> None:
        """Answer, and close: where the next request begins is no longer known."""
        self._callbacks.request_refused(self, refusal)
        self._wire.write(local_response(refusal.status, close=True, date=self._date()))
        self._callbacks.error_sent(refusal.status)
        self._linger()

    def _linger(self) -> None:
        """Half-close and drain: to close a socket with unread bytes sends a reset,
        which can reach the guest before it has read the response.
        """
        self._reader.discard()
        if self.has_ended:
            self._close()
            return
        self._phase = _LINGERING
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
        """Set the deadline by which the guest must have taken what is pending."""
        seconds = DRAIN_SECONDS + size / MIN_DRAIN_RATE
        self.deadline = self._deadlines.now() + seconds

    def _drained(self) -> None:
        """The guest has taken what was pending."""
        self.deadline = NEVER
        if self._phase is _RESPONDING:
            if self.pending is not None:
                self.pending.guest_caught_up()
        elif self._phase is _PAUSED:
            self.deadline = self._deadlines.now() + OVER_RATE_SECONDS
        elif self._phase is _LINGERING:
            self.deadline = self._deadlines.now() + LINGER_SECONDS
            self._wire.finish()
        elif self._phase is not _CLOSED:
            self._stage = _NOTHING
            self.deadline = self._deadlines.now() + IDLE_SECONDS
            self._go_on()
