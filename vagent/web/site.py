"""The HTTP server of the operator's three sites, on Twisted, with bounds.

Bounded are the body of a request (which is kept in memory and never spooled to a file),
the connections, and the time that one may be silent; Twisted itself bounds the head (16
KiB, 500 fields). What is admitted is decided in `admission`, who may ask in `gate`, who
gets a connection in `places`; what a request means, in the site's dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace
from http import HTTPStatus
from io import BytesIO
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, HTTPFactory, Request, datetimeToString

from vagent.observe.event import Emit
from vagent.web.admission import Denial, check_admission
from vagent.web.caller import SiteCaller
from vagent.web.events import CallerRefused, OperatorChange
from vagent.web.exchange import Dialect, SiteReply, SiteRequest
from vagent.web.gate import Gate
from vagent.web.places import MAX_CONNECTIONS, Places

IDLE_TIMEOUT = 60.0
"""Seconds without a byte after which a connection is closed. Prometheus scrapes every
15 to 60, and vnc_api keeps its connections between calls."""
DISCARDED = 4
"""A body that is too long is read and dropped up to this many times the allowed length,
so that a client which sends all before it reads still sees the 413. A longer one is cut
off."""

_log = Logger()


def is_change(request: SiteRequest) -> bool:
    """Every method but those that only read (RFC 9110 §9.2.1)."""
    return request.method not in ("GET", "HEAD", "OPTIONS")


class BoundedRequest(Request):
    """One request. Its body is kept in memory up to the site's `max_body`."""

    channel: SiteChannel
    content: BytesIO
    _received = 0
    _is_cut_off = False
    _is_client_gone = False
    _is_kept = True

    def gotLength(self, length: int | None) -> None:
        """The head is complete; `length` is None for a chunked body.

        Without the content type Twisted does not parse the body as a form, which is
        what `curl -d` calls JSON.
        """
        self.content = BytesIO()
        self.requestHeaders.removeHeader(b"content-type")
        # Of a caller who may not ask, nothing is kept; the answer is decided later.
        self._is_kept = length == 0 or self._judge()[1] is None
        if length is not None and length > self.channel.site.max_discarded:
            self._cut_off()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep what fits and drop the rest, but not without limit."""
        site = self.channel.site
        self._received += len(data)
        if self._received <= site.max_body:
            if self._is_kept:
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
        site = self.channel.site  # the channel is None when the client has left
        request = self._request()
        denial = self._denial()
        if denial is None:
            caller, denial = self._judge()
            if denial is not None:
                site.refused(denial, caller)
        if denial is not None:
            return _with_challenge(site.dialect.refuse(request, denial), denial)
        try:
            reply = await site.dialect.answer(request)
        except Exception as error:  # one bad call must not stop the server
            _log.failure("A request to {site!r} failed", site=site)
            reply = site.dialect.fail(request, error)
        site.answered(request, reply, caller)
        return reply

    def _judge(self) -> tuple[SiteCaller, Denial | None]:
        """Who asks, found out anew, and the denial where this caller may not."""
        gate = self.channel.site.gate
        caller = gate.caller(self.channel.transport)
        return caller, gate.denial(caller, self._values(b"authorization"))

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
        if isinstance(here, UNIXAddress):
            return "localhost"
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
            b"Date: " + datetimeToString(),
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
    """A connection, which has one of its site's places."""

    site: OperatorSite
    _place: tuple[int | None] | None = None

    def connectionMade(self) -> None:
        """Take a place for whoever connects; hang up if there is none."""
        super().connectionMade()
        gate = self.site.gate
        owner = gate.place(gate.caller(self.transport))
        if self.site.places.take(owner):
            self._place = (owner,)
        else:
            self.loseConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # its default is a global
        """The place is free again."""
        if self._place is not None:
            self.site.places.leave(*self._place)
        super().connectionLost(reason)


class OperatorSite(HTTPFactory):
    """One of the operator's servers, to be given to `listenTCP` and `listenUNIX`.

    `title` is for messages; `names` are the host names that it answers to; `gate`
    decides who may ask; `max_body` is in bytes; `is_change` says of which requests the
    log tells who sent them; `stopped` is called when the server is closed. There is no
    access log: events say what was refused.
    """

    protocol = SiteChannel  # type: ignore[assignment]  # a factory, says Twisted

    def __init__(
        self,
        title: str,
        dialect: Dialect,
        *,
        names: Container[str],
        gate: Gate,
        emit: Emit,
        max_body: int,
        clock: IReactorTime,
        is_change: Callable[[SiteRequest], bool] = is_change,
        stopped: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(timeout=IDLE_TIMEOUT, reactor=clock)
        self.dialect = dialect
        self.names = names
        self.gate = gate
        self.places = Places()
        self.max_body = max_body
        self.max_discarded = DISCARDED * max_body
        self.too_long = Denial(413, "body", f"Body is longer than {max_body} bytes")
        self.clock = clock
        self._title = title
        self._emit = emit
        self._is_change = is_change
        self._stopped = stopped

    def __repr__(self) -> str:
        return f"<{self._title} {len(self.places)}/{MAX_CONNECTIONS} connections>"

    def refused(self, denial: Denial, caller: SiteCaller) -> None:
        """Report that this caller may not ask."""
        self._emit(CallerRefused(self._title, denial.reason, str(caller)))

    def answered(
        self, request: SiteRequest, reply: SiteReply, caller: SiteCaller
    ) -> None:
        """Report a change, with who asked for it."""
        if self._is_change(request):
            self._emit(
                OperatorChange(
                    self._title,
                    request.method,
                    request.path,
                    reply.status,
                    str(caller),
                )
            )

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


def _with_challenge(reply: SiteReply, denial: Denial) -> SiteReply:
    """401 says how to authenticate (RFC 9110 §15.5.2, RFC 6750 §3)."""
    if denial.status != HTTPStatus.UNAUTHORIZED:
        return reply
    challenge = ("WWW-Authenticate", 'Bearer realm="vagent"')
    return replace(reply, headers=(*reply.headers, challenge))


def _phrase(reply: SiteReply) -> bytes:
    phrase = HTTPStatus(reply.status).phrase if reply.phrase is None else reply.phrase
    return phrase.encode()
