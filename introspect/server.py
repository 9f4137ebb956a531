"""The introspection server: Twisted's HTTP around `answer.Desk`, and nothing else.

Request bodies are thrown away as they come: nothing here takes one. Answers are whole,
have a length, and are never cached. Refuses to know pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from introspect.access import BROWSER_MARKS, Head, refusal
from introspect.answer import PLAIN, Answer, Ask, Desk, refuse
from introspect.events import PageFailed, PageRefused
from introspect.sources import Sources
from vagent.observe.event import Emit
from vagent.observe.observer import describe

IDLE_TIMEOUT = 30.0
"""Seconds a connection may be silent; Prometheus scrapes every 15 to 60."""
MAX_BODY = 65_536
"""Bytes of a request's body that are read and dropped before the connection is cut."""


class IntrospectRequest(Request):
    """A request whose body goes nowhere."""

    channel: Any
    is_gone = False
    """Has the client hung up? Then nothing can be written any more."""
    _dropped = 0

    def gotLength(self, length: int | None) -> None:
        """Keep no place for a body; refuse to read a long one."""
        self.content = BytesIO()
        if length is not None and length > MAX_BODY:
            self.channel.forceAbortClient()

    def connectionLost(self, reason: Failure) -> None:
        """The client hung up before its answer was written."""
        self.is_gone = True
        super().connectionLost(reason)

    def handleContentChunk(self, data: bytes) -> None:
        """Drop it, and the connection once it is too much."""
        self._dropped += len(data)
        if self._dropped > MAX_BODY:
            self.channel.forceAbortClient()


class IntrospectSite(Site):
    """A site without an access log: scraping and refreshing would fill it."""

    def log(self, request: Any) -> None:
        """Nothing."""


class _Pages(Resource):
    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(
        self,
        desk: Desk,
        *,
        names: frozenset[str],
        emit: Emit,
        now: Callable[[], float],
    ) -> None:
        super().__init__()
        self._desk = desk
        self._names = names
        self._emit = emit
        self._now = now
        self._headers = _security_headers(desk.style_source)

    def render(self, request: Any) -> int:
        Deferred.fromCoroutine(self._serve(request))
        return NOT_DONE_YET

    async def _serve(self, request: Any) -> None:
        answer = await self._answer(request)
        if request.is_gone:
            return
        if answer.refused:
            self._emit(PageRefused(answer.refused))
        request.setResponseCode(answer.status)
        for name, value in self._headers:
            request.setHeader(name, value)
        if answer.status == 405:
            request.setHeader(b"Allow", b"GET, HEAD")
        request.setHeader(b"Content-Type", answer.content_type.encode())
        request.setHeader(b"Content-Length", b"%d" % len(answer.body))
        if request.method != b"HEAD":
            request.write(answer.body)
        request.finish()

    async def _answer(self, request: Request) -> Answer:
        ask = _ask(request, self._now())
        refused = refusal(ask.head, names=self._names)
        if refused is not None:
            return refuse(refused)
        try:
            return await self._desk.answer(ask)
        except Exception as error:  # border: a broken page must not stop the server
            self._emit(PageFailed(ask.path, describe(error)))
            return Answer(500, PLAIN, b"This page failed; the log says why.\n")


def introspect_site(
    sources: Sources,
    *,
    reactor: IReactorTime,
    emit: Emit,
    now: Callable[[], float],
    host_names: Iterable[str] = ("localhost",),
) -> Site:
    """The site to listen with. `host_names` are the names by which operators reach
    this agent; addresses need not be named. `now` gives seconds since the epoch.
    """
    pages = _Pages(
        Desk(sources),
        names=frozenset(name.lower() for name in host_names),
        emit=emit,
        now=now,
    )
    return IntrospectSite(
        pages,
        requestFactory=IntrospectRequest,
        parsePOSTFormSubmission=False,
        reactor=reactor,
        timeout=IDLE_TIMEOUT,
    )


def _ask(request: Request, now: float) -> Ask:
    path, _, query = request.uri.decode("latin-1").partition("?")
    headers = request.requestHeaders
    hosts = tuple(_texts(headers.getRawHeaders(b"host", ())))
    marks = frozenset(name for name in BROWSER_MARKS if headers.hasHeader(name))
    return Ask(
        path=path,
        query=query,
        accept=", ".join(_texts(headers.getRawHeaders(b"accept", ()))),
        head=Head(request.method, hosts, request.clientproto == b"HTTP/1.1", marks),
        now=now,
    )


def _texts(values: Iterable[bytes]) -> list[str]:
    return [value.decode("latin-1") for value in values]


def _security_headers(style_source: str) -> tuple[tuple[bytes, bytes], ...]:
    policy = (
        f"default-src 'none'; style-src {style_source}; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    return (
        (b"Server", b"vagent"),
        (b"Cache-Control", b"no-store"),
        (b"Content-Security-Policy", policy.encode()),
        (b"Cross-Origin-Resource-Policy", b"same-origin"),
        (b"Referrer-Policy", b"no-referrer"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"X-Frame-Options", b"DENY"),
    )
