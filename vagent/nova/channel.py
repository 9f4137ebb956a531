"""Connections and requests of the metadata server, on twisted.web's parser.

Its clients are proxies that hold a client certificate, not guests, so twisted.web is
strict enough once bodies and the number of headers are limited; forms and arguments are
never parsed. The site answers the requests.
"""

from __future__ import annotations

from io import BytesIO
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from vagent.metadata.http.date import HttpDate
from vagent.metadata.http.headers import INSTANCE_FIELD
from vagent.nova.reply import BODY_TOO_LARGE, NovaReply, refuse
from vagent.nova.request import NovaRequest

MAX_BODY = 65_536
"""Bytes of a request body. Only a password (1,020 bytes) is used; as in Nova, other
bodies are ignored, so a POST to another document gets that document."""
MAX_HEADERS = 64
"""Header fields of a request. A proxy sends about ten; gunicorn takes 100."""

NO_CACHE = b"no-cache"
"""Cache-Control of every answer: documents change when an operator changes them, so no
proxy may give one without asking again (RFC 9111 §5.2.2.4), errors included: what is
not there may come."""

CLOSE_TIMEOUT = 15.0
"""Seconds that a refused client has to read its answer and close."""


class AnsweringSite(Protocol):
    """The site, as its connections see it."""

    date: HttpDate

    def enter(self) -> bool:
        """Count a new connection; False: there are too many, so close it."""

    def leave(self) -> None:
        """A counted connection is closed."""

    def report_refused_body(self) -> None:
        """A request was refused because its body is too long."""

    async def answer(self, request: NovaRequest) -> NovaReply:
        """The reply, also when something fails. Raises only CancelledError."""


class MetadataChannel(HTTPChannel):
    """One connection. After a refusal it ignores what the client still sends."""

    maxHeaders = MAX_HEADERS  # noqa: N815 - Twisted's name
    site: AnsweringSite
    transport: ITCPTransport
    _counted = False
    _ignores_input = False
    _closing: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Have the connection counted, or close it."""
        super().connectionMade()
        self._counted = self.site.enter()
        if not self._counted:
            self._ignores_input = True
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default argument is a mutable global
        """The connection is closed."""
        if self._counted:
            self._counted = False
            self.site.leave()
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        """Pass on what arrives; after a refusal not even the idle timer sees it."""
        if not self._ignores_input:
            super().dataReceived(data)

    def refuse_body(self, reply: NovaReply) -> None:
        """Answer 413 although the body is not complete, and close."""
        self._ignores_input = True
        head = (
            "HTTP/1.1 413 Request Entity Too Large\r\n"
            "Connection: close\r\n"
            "Cache-Control: no-cache\r\n"
            f"Content-Type: {reply.content_type}\r\n"
            f"Content-Length: {len(reply.content)}\r\n"
        ).encode() + self.site.date.line()
        self.transport.write(head + b"\r\n" + reply.content)
        self._closing = self.callLater(CLOSE_TIMEOUT, self.transport.abortConnection)
        self.loseConnection()


class MetadataRequest(Request):
    """One request: collects its body up to the limit, then has the site answer."""

    channel: MetadataChannel
    content: BytesIO
    _refused = False
    _gone = False
    _work: Deferred[None] | None = None

    def gotLength(self, length: int | None) -> None:
        """The head is complete: refuse a body whose announced length is too long."""
        self.content = BytesIO()
        if length is not None and length > MAX_BODY:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        """Collect a piece of the body, up to the limit."""
        if self._refused:
            return
        if self.content.tell() + len(data) > MAX_BODY:
            self._refuse_body()
        else:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The request is complete. Unlike Twisted's, this parses no forms."""
        if self._refused:
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.process()

    def process(self) -> None:
        """Start to answer; that is cancelled when the connection is lost."""
        request = NovaRequest(
            method=self.method.decode("latin-1"),
            target=self.uri,
            headers=self._joined_headers(),
            content=self.content.getvalue(),
        )
        self._work = Deferred.fromCoroutine(self._answer(self.channel.site, request))

    def connectionLost(self, reason: Failure) -> None:
        """Nobody waits for the answer any more: cancel it."""
        self._gone = True
        if self._work is not None:
            self._work.cancel()
        super().connectionLost(reason)

    async def _answer(self, site: AnsweringSite, request: NovaRequest) -> None:
        try:
            reply = await site.answer(request)
        except CancelledError:
            return
        if self._gone:
            return
        self.setResponseCode(reply.status)
        self.setHeader(b"date", site.date.value())
        self.setHeader(b"content-type", reply.content_type.encode())
        self.setHeader(b"content-length", b"%d" % len(reply.content))
        self.setHeader(b"cache-control", NO_CACHE)
        if reply.etag:
            self.setHeader(b"etag", reply.etag.encode())
        if not reply.is_instance_known:
            self.setHeader(INSTANCE_FIELD, b"1")
        self.write(reply.content)
        self.finish()

    def _joined_headers(self) -> dict[str, bytes]:
        return {
            name.lower().decode("latin-1"): b",".join(values)
            for name, values in self.requestHeaders.getAllRawHeaders()
        }

    def _refuse_body(self) -> None:
        self._refused = True
        self.requestHeaders.removeHeader(b"expect")
        accept = self._joined_headers().get("accept", b"").decode("latin-1")
        self.channel.site.report_refused_body()
        self.channel.refuse_body(refuse(BODY_TOO_LARGE, accept))
