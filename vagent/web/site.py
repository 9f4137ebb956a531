"""The HTTP server of the operator's three sites, on Twisted, with bounds.

Bounded are the body of a request (which is kept in memory and never spooled to a file),
the connections, and the time that one may be silent; Twisted itself bounds the head (16
KiB, 500 fields). Who is admitted is decided in `admission`; what a request means, in
the site's dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from http import HTTPStatus
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, HTTPFactory, Request, datetimeToString

from vagent.web.admission import Denial, check_admission
from vagent.web.exchange import Dialect, SiteReply, SiteRequest

IDLE_TIMEOUT = 60.0
"""Seconds without a byte after which a connection is closed. Prometheus scrapes every
15 to 60, and vnc_api keeps its connections between calls."""
MAX_CONNECTIONS = 64
"""Connections of one site at a time: with the longest bodies (4 MiB) they take 256 MiB
at most."""
DISCARDED = 4
"""A body that is too long is read and dropped up to this many times the allowed length,
so that a client which sends all before it reads still sees the 413. A longer one is cut
off."""

_log = Logger()


class BoundedRequest(Request):
    """One request. Its body is kept in memory up to the site's `max_body`."""

    channel: SiteChannel
    content: BytesIO
    _received = 0
    _is_cut_off = False
    _is_client_gone = False

    def gotLength(self, length: int | None) -> None:
        """The head is complete; `length` is None for a chunked body.

        Without the content type Twisted does not parse the body as a form, which is
        what `curl -d` calls JSON.
        """
        self.content = BytesIO()
        self.requestHeaders.removeHeader(b"content-type")
        if length is not None and length > self.channel.site.max_discarded:
            self._cut_off()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep what fits and drop the rest, but not without limit."""
        site = self.channel.site
        self._received += len(data)
        if self._received <= site.max_body:
            self.content.write(data)
        elif self._received > site.max_discarded:
            self._cut_off()

    def process(self) -> None:
        """The request is complete. A client that goes away does not stop the change."""
        if self._is_cut_off:
            return
        self.notifyFinish().addErrback(self._client_left)
        Deferred.fromCoroutine(self._respond()).addErrback(self._fault)

    async def _respond(self) -> None:
        await self._send(await self._reply())

    async def _reply(self) -> SiteReply:
        dialect = self.channel.site.dialect
        request = self._request()
        denial = self._denial()
        if denial is not None:
            return dialect.refuse(request, denial)
        try:
            return await dialect.answer(request)
        except Exception as error:  # one bad call must not stop the server
            _log.failure("A request to {site!r} failed", site=self.channel.site)
            return dialect.fail(request, error)

    def _request(self) -> SiteRequest:
        path, _, query = self.uri.decode("latin-1").partition("?")
        hosts = self._values(b"host")
        return SiteRequest(
            method=self.method.decode("latin-1"),
            path=path,
            query=query,
            authority=hosts[0] if hosts else self._own_address(),
            headers={
                name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
                for name, values in self.requestHeaders.getAllRawHeaders()
            },
            body=self.content.getvalue(),
        )

    def _values(self, name: bytes) -> list[str]:
        values = self.requestHeaders.getRawHeaders(name, ())
        return [value.decode("latin-1") for value in values]

    def _own_address(self) -> str:
        here: Any = self.getHost()
        return f"{here.host}:{here.port}"

    def _denial(self) -> Denial | None:
        site = self.channel.site
        denial = check_admission(
            self._values(b"host"),
            self._values(b"origin"),
            names=site.names,
            needs_host=self.clientproto == b"HTTP/1.1",
        )
        if denial is None and self._received > site.max_body:
            return site.too_long
        return denial

    def _cut_off(self) -> None:
        """Answer 413 and close the connection without reading further."""
        if self._is_cut_off:
            return
        self._is_cut_off = True
        site = self.channel.site
        reply = site.dialect.refuse(SiteRequest("-", "-"), site.too_long)
        head = [
            b"HTTP/1.1 %d %s" % (reply.status, _phrase(reply)),
            b"Content-Type: " + reply.content_type.encode(),
            b"Content-Length: %d" % len(reply.body),
            b"Connection: close",
        ]
        self.channel.write(b"\r\n".join([*head, b"", reply.body]))
        self.channel.loseConnection()

    async def _send(self, reply: SiteReply) -> None:
        out: Any = self  # Twisted has no types for these methods
        parts = iter(reply.parts)
        part = next(parts, None)
        self.setResponseCode(reply.status, _phrase(reply))
        out.setHeader(b"Content-Type", reply.content_type.encode())
        if reply.dated:
            out.setHeader(b"Date", datetimeToString())
        for name, value in reply.headers:
            out.setHeader(name.encode(), value.encode())
        if part is None:
            out.setHeader(b"Content-Length", b"%d" % len(reply.body))
        if not self._is_client_gone:
            out.write(reply.body)
        while part is not None and not self._is_client_gone:
            out.write(part)
            await deferLater(self.channel.site.clock, 0)
            part = next(parts, None)
        if not self._is_client_gone:
            out.finish()

    def _client_left(self, _failure: Failure) -> None:
        self._is_client_gone = True

    def _fault(self, failure: Failure) -> None:
        """Border: a fault while a reply is written costs one connection."""
        _log.failure("Writing a reply failed", failure)
        if not self._is_client_gone:
            self.loseConnection()


class SiteChannel(HTTPChannel):
    """A connection of an operator's client, which counts against its site's
    MAX_CONNECTIONS.
    """

    site: OperatorSite

    def connectionMade(self) -> None:
        """Count the connection; close it if the site has MAX_CONNECTIONS already."""
        super().connectionMade()
        self.site.connections += 1
        if self.site.connections > MAX_CONNECTIONS:
            self.loseConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # its default is a global
        """The connection is closed: count it no longer."""
        self.site.connections -= 1
        super().connectionLost(reason)


class OperatorSite(HTTPFactory):
    """One of the operator's servers, to be given to `listenTCP`.

    `title` is for messages; `names` are the host names that it answers to; `max_body`
    is in bytes; `stopped` is called when the server is closed. There is no access log:
    events say what was refused.
    """

    protocol = SiteChannel  # type: ignore[assignment]  # a factory, says Twisted
    connections = 0

    def __init__(
        self,
        title: str,
        dialect: Dialect,
        *,
        names: Container[str],
        max_body: int,
        clock: IReactorTime,
        stopped: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(timeout=IDLE_TIMEOUT, reactor=clock)
        self.dialect = dialect
        self.names = names
        self.max_body = max_body
        self.max_discarded = DISCARDED * max_body
        self.too_long = Denial(413, "body", f"Body is longer than {max_body} bytes")
        self.clock = clock
        self._title = title
        self._stopped = stopped

    def __repr__(self) -> str:
        return f"<{self._title} {self.connections}/{MAX_CONNECTIONS} connections>"

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A connection that belongs to this site and whose requests are bounded."""
        channel: Any = super().buildProtocol(addr)
        channel.requestFactory = BoundedRequest
        channel.site = self
        return channel

    def startFactory(self) -> None:
        """Do not open a log file, nor start a timer that formats dates for it."""

    def stopFactory(self) -> None:
        """The server is closed."""
        self._stopped()

    def log(self, request: Request) -> None:
        """No access log."""


def _phrase(reply: SiteReply) -> bytes:
    phrase = HTTPStatus(reply.status).phrase if reply.phrase is None else reply.phrase
    return phrase.encode()
