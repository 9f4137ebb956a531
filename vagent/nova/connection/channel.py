"""Connections of the metadata server: one request after the other, each answered by the
site.

A request whose answer is at hand is answered before the next event of the reactor: that
is most of them, so nothing here costs more than the answer itself. What a client sends
behind an unanswered request is kept up to a ceiling; then its socket is not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol as Connection
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from vagent.errors import WireError
from vagent.metadata.http.chunked import Chunked
from vagent.metadata.http.date import HttpDate
from vagent.metadata.http.headers import INSTANCE_FIELD
from vagent.metadata.http.response_writer import CONTINUE, status_line
from vagent.nova.connection.request_head import (
    MAX_BODY,
    MAX_HEAD,
    ParsedHead,
    parse_head,
)
from vagent.nova.reply import BODY_TOO_LARGE, NovaReply, refuse
from vagent.nova.request import NovaRequest
from vagent.transport.deadlines import NEVER, Deadlines
from vagent.transport.wire import READ_SIZE, Wire

MAX_KEPT = 16 * 1024
"""Bytes that are kept behind an unanswered request."""
MAX_CHUNKED = 2 * MAX_BODY
"""Bytes of a chunked body with its size lines."""

IDLE_TIMEOUT = 75.0
"""Seconds without a byte, in the TLS handshake as well. Usual proxies close an idle
connection after 60 s; to close it first could hit a request that is just being sent."""
CLOSE_TIMEOUT = 15.0
"""Seconds that a refused client has to read its answer and close."""


class AnsweringSite(Protocol):
    """The site, as its connections see it."""

    deadlines: Deadlines
    date: HttpDate

    def enter(self) -> bool:
        """Count a new connection; False: there are too many, so close it."""

    def leave(self) -> None:
        """A counted connection is closed."""

    def report_refused_body(self) -> None:
        """A request was refused because its body is too long."""

    def answer(self, request: NovaRequest) -> NovaReply | Deferred[NovaReply]:
        """The reply, also when something fails; fails only when it is cancelled."""


class MetadataChannel(Connection):
    """One connection. After a refusal it ignores what the client still sends."""

    def __init__(self, site: AnsweringSite) -> None:
        self._site = site
        self._deadlines = site.deadlines
        self._buffer = b""
        self._head: ParsedHead | None = None
        self._chunked: Chunked | None = None
        self._raw = self._size = 0
        self._pieces: list[bytes] = []
        self._work: Deferred[Any] | None = None
        self._counted = self._is_over = False
        self._is_advancing = self._is_blocked = self._is_paused = False
        self.deadline = NEVER

    def connectionMade(self) -> None:
        """Have the connection counted, or close it."""
        transport = cast("Any", self.transport)
        transport.bufferSize = READ_SIZE
        self._wire = Wire(transport, self.resumeProducing)
        self._counted = self._site.enter()
        if not self._counted:
            self._is_over = True
            transport.abortConnection()
            return
        if hasattr(transport, "getHandle"):
            transport.setTcpNoDelay(True)
        else:
            transport.registerProducer(self, True)
        self.deadline = self._deadlines.now() + IDLE_TIMEOUT
        self._deadlines.watch(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is closed: nobody waits for an answer any more."""
        self._is_over = self._wire.closed = True
        self._deadlines.unwatch(self)
        if self._counted:
            self._counted = False
            self._site.leave()
        if self._work is not None:
            self._work.cancel()

    def dataReceived(self, data: bytes) -> None:
        """Read on; after a refusal not even the idle timer sees what comes."""
        if self._is_over:
            return
        self.deadline = self._deadlines.now() + IDLE_TIMEOUT
        self._buffer = self._buffer + data if self._buffer else data
        if not self._is_busy:
            self._advance()
        elif len(self._buffer) > MAX_KEPT and not self._is_paused:
            self._is_paused = True
            cast("Any", self.transport).pauseProducing()

    def expired(self) -> None:
        """Silence for too long, or a refused client that does not close."""
        self.deadline = NEVER
        if self._is_over or self._is_blocked or self._wire.pending:
            cast("Any", self.transport).abortConnection()
        elif self._work is None:
            self._close(self._wire.close)

    # The transport calls these as the client takes what was sent, or does not.

    def pauseProducing(self) -> None:
        """The client does not keep up."""
        self._is_blocked = True

    def resumeProducing(self) -> None:
        """The client has taken what was sent."""
        self._is_blocked = False
        if not self._is_over and not self._is_busy:
            self._advance()

    def stopProducing(self) -> None:
        """The connection is lost; `connectionLost` is called, too."""

    @property
    def _is_busy(self) -> bool:
        return (
            self._is_advancing
            or self._work is not None
            or self._is_blocked
            or self._wire.pending
        )

    def _advance(self) -> None:
        """Answer the requests that are complete, until one has to wait."""
        self._is_advancing = True
        while self._buffer and not self._is_over and self._take():
            if self._work is not None or self._is_blocked or self._wire.pending:
                break
        self._is_advancing = False
        if self._is_paused and not self._is_busy and not self._is_over:
            self._is_paused = False
            cast("Any", self.transport).resumeProducing()

    def _take(self) -> bool:
        """Take what there is of one request; False: the rest of it has yet to come."""
        if self._head is None:
            return self._take_head()
        return self._take_body(self._head)

    def _take_head(self) -> bool:
        buffer = self._buffer.lstrip(b"\r\n")  # RFC 9112 §2.2, before a request
        end = buffer.find(b"\r\n\r\n", 0, MAX_HEAD) + 4
        if end < 4:
            self._buffer = buffer
            if len(buffer) >= MAX_HEAD:
                self._refuse(431)
            return False
        head = parse_head(buffer[:end])
        self._buffer = buffer[end:]
        if isinstance(head, int):
            self._refuse(head)
        elif head.length == 0:
            self._begin(head, b"")
        elif head.length is not None and head.length > MAX_BODY:
            self._refuse_body(head)
        else:
            self._head = head
            self._chunked = Chunked() if head.length is None else None
            if head.expects_continue and not self._buffer:
                self._wire.write(CONTINUE)
        return True

    def _take_body(self, head: ParsedHead) -> bool:
        if head.length is not None:
            if len(self._buffer) < head.length:
                return False
            content = self._buffer[: head.length]
            self._buffer = self._buffer[head.length :]
        else:
            decoded = self._take_chunks(head)
            if decoded is None:
                return False
            content = decoded
        self._head = None
        self._begin(head, content)
        return True

    def _take_chunks(self, head: ParsedHead) -> bytes | None:
        """The content of a chunked body once it is complete."""
        chunked = self._chunked
        assert chunked is not None  # noqa: S101  for the type checker
        self._raw += len(self._buffer)
        try:
            piece = chunked.feed(self._buffer)
        except WireError:
            self._refuse(400)
            return None
        self._size += len(piece)
        self._pieces.append(piece)
        self._buffer = chunked.rest or b""
        if self._size > MAX_BODY or self._raw - len(self._buffer) > MAX_CHUNKED:
            self._refuse_body(head)
            return None
        if chunked.rest is None:
            return None
        content = b"".join(self._pieces)
        self._pieces, self._raw, self._size = [], 0, 0
        return content

    def _begin(self, head: ParsedHead, content: bytes) -> None:
        """A request is complete: have it answered."""
        request = head.request
        if content:
            request = NovaRequest(
                request.method, request.target, request.headers, content
            )
        found = self._site.answer(request)
        if isinstance(found, NovaReply):
            self._answer(found, head)
            return
        self._work = found
        found.addCallbacks(self._answer, _gone, callbackArgs=(head,))

    def _answer(self, reply: NovaReply, head: ParsedHead) -> None:
        self._work = None
        if self._is_over:
            return
        content = b"" if head.request.method == "HEAD" else reply.content
        date = self._site.date.line()
        rendered = _rendered_head(reply, date, close=not head.keep_alive)
        self._wire.write(rendered + content)
        if self.deadline == NEVER:
            self.deadline = self._deadlines.now() + IDLE_TIMEOUT
        if not head.keep_alive:
            self._close(self._wire.close)
        elif not self._is_advancing and not self._is_busy:
            self._advance()

    def _refuse(self, status: int) -> None:
        """Answer, and close: where the next request begins is not known."""
        close = b"Connection: close\r\nContent-Length: 0\r\n\r\n"
        self._wire.write(status_line(status) + self._site.date.line() + close)
        self._close(self._wire.finish)

    def _refuse_body(self, head: ParsedHead) -> None:
        """Answer 413 although the body is not complete, and close."""
        self._site.report_refused_body()
        reply = refuse(BODY_TOO_LARGE, head.request.accept)
        date = self._site.date.line()
        self._wire.write(_rendered_head(reply, date, close=True) + reply.content)
        self._close(self._wire.finish)

    def _close(self, close: Callable[[], None]) -> None:
        """Close once everything is sent; a client that does not is cut off. After a
        refusal only half: to close a socket with unread bytes sends a reset, which can
        reach the client before it has read the answer.
        """
        self._is_over = True
        self._buffer = b""
        self.deadline = self._deadlines.now() + CLOSE_TIMEOUT
        close()


def _rendered_head(reply: NovaReply, date: bytes, *, close: bool) -> bytes:
    """`date` is a line. No proxy may give an answer without asking again (RFC 9111
    §5.2.2.4): documents change when an operator changes them, what is not there may
    come.
    """
    return b"%b%bContent-Type: %b\r\nContent-Length: %d\r\n%b%b%b%b\r\n" % (
        status_line(reply.status),
        date,
        reply.content_type.encode(),
        len(reply.content),
        b"Cache-Control: no-cache\r\n",
        b"ETag: %b\r\n" % reply.etag.encode() if reply.etag else b"",
        b"" if reply.is_instance_known else INSTANCE_FIELD + b": 1\r\n",
        b"Connection: close\r\n" if close else b"",
    )


def _gone(failure: Failure) -> None:
    """The connection was lost, and with it the work was cancelled."""
    failure.trap(CancelledError)
