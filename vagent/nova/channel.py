"""One connection and one request of the metadata server, on twisted.web's parser.

Callers are proxies that hold a client certificate, not guests, so `twisted.web` will
do; what it leaves open is closed here: bodies and header counts have ceilings, forms
and arguments are never parsed. Refuses to know what is asked: the site answers.
"""

from __future__ import annotations

from io import BytesIO
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from vagent.nova.reply import BODY_TOO_LARGE, NovaReply, refuse
from vagent.nova.request import NovaRequest

MAX_BODY = 65_536
"""Bytes of a request body. Only passwords (1,020 bytes) are read at all; Nova discards
the rest, so that a guest's stray POST still gets its document."""
MAX_HEADERS = 64
"""Header fields of a request. A proxy sends about ten; gunicorn takes 100."""

CLOSE_TIMEOUT = 15.0
"""Seconds that a refused caller has to take its answer and close."""


class AnsweringSite(Protocol):
    """What a connection needs of its site."""

    def enter(self) -> bool:
        """Take a place for a connection; False when there is none."""

    def leave(self) -> None:
        """Give a connection's place back."""

    def report_refused_body(self) -> None:
        """A request was refused for its body before it was complete."""

    async def answer(self, asked: NovaRequest) -> NovaReply:
        """The reply, whatever happens, unless cancelled."""


class MetadataChannel(HTTPChannel):
    """One connection. Counted by its site; deaf once it has been refused."""

    maxHeaders = MAX_HEADERS  # noqa: N815 - Twisted's name
    site: AnsweringSite
    transport: ITCPTransport
    _counted = False
    _deaf = False
    _closing: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Take a place among the site's connections, or close."""
        super().connectionMade()
        self._counted = self.site.enter()
        if not self._counted:
            self._deaf = True
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default argument is a mutable global
        """Give the place back."""
        if self._counted:
            self._counted = False
            self.site.leave()
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        """Nothing after a refusal counts, not even against the idle timeout."""
        if not self._deaf:
            super().dataReceived(data)

    def refuse_body(self, reply: NovaReply) -> None:
        """Answer before the body has come, and close."""
        self._deaf = True
        head = (
            "HTTP/1.1 413 Request Entity Too Large\r\n"
            "Connection: close\r\n"
            f"Content-Type: {reply.content_type}\r\n"
            f"Content-Length: {len(reply.content)}\r\n\r\n"
        )
        self.transport.write(head.encode() + reply.content)
        self._closing = self.callLater(CLOSE_TIMEOUT, self.transport.abortConnection)
        self.loseConnection()


class MetadataRequest(Request):
    """One request: collects a bounded body, then has the responder answer."""

    channel: MetadataChannel
    content: BytesIO
    _refused = False
    _gone = False
    _work: Deferred[None] | None = None

    def gotLength(self, length: int | None) -> None:
        """The head is complete: refuse a body that says it is too long."""
        self.content = BytesIO()
        if length is not None and length > MAX_BODY:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body, within the ceiling."""
        if self._refused:
            return
        if self.content.tell() + len(data) > MAX_BODY:
            self._refuse_body()
        else:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All is here. Unlike Twisted's, this parses neither forms nor arguments."""
        if self._refused:
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.process()

    def process(self) -> None:
        """Start the work; it ends by answering, or when the connection is lost."""
        asked = NovaRequest(
            method=self.method.decode("latin-1"),
            target=self.uri,
            headers=self._joined_headers(),
            content=self.content.getvalue(),
        )
        self._work = Deferred.fromCoroutine(self._answer(self.channel.site, asked))

    def connectionLost(self, reason: Failure) -> None:
        """Nobody waits for the answer any more."""
        self._gone = True
        if self._work is not None:
            self._work.cancel()
        super().connectionLost(reason)

    async def _answer(self, site: AnsweringSite, asked: NovaRequest) -> None:
        try:
            reply = await site.answer(asked)
        except CancelledError:
            return
        if self._gone:
            return
        self.setResponseCode(reply.status)
        self.setHeader(b"content-type", reply.content_type.encode())
        self.setHeader(b"content-length", b"%d" % len(reply.content))
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
