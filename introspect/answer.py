"""A request's path, query and head become an answer: status, type, body.

Pure but for what the sources read. The form follows what the client accepts: browsers
get HTML, everything else gets Contrail's XML. Refuses to know sockets and Twisted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlencode

from introspect import html, prometheus, sandesh
from introspect.access import Head, Refusal, change_refusal, wants_html
from introspect.page import Page
from introspect.pages.overview import overview
from introspect.pages.traces import utc
from introspect.query import MAX_QUERY, Query, parse
from introspect.requests import (
    BY_NAME,
    MODULES,
    Request,
    module_document,
    module_page,
)
from introspect.sources import Sources

PLAIN = "text/plain; charset=utf-8"
NOT_FOUND = (
    b"<html>\n<head>\n <title>404 Not Found</title>\n</head>\n</html>\n"  # as Contrail
)


@dataclass(frozen=True, slots=True)
class Ask:
    """What the client asked. `query` has no `?`; `now` is seconds since the epoch."""

    path: str
    query: str
    accept: str
    head: Head
    now: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What it is told. `refused` is why not, "" for a real answer."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    refused: str = ""


def refuse(refusal: Refusal) -> Answer:
    """The answer to a request that is not allowed."""
    body = f"{refusal.text}\n".encode()
    return Answer(refusal.status, PLAIN, body, refusal.reason)


def _xml(ask: Ask, body: bytes) -> Answer:
    # A browser shows XML with a style sheet that it may not load as an empty page.
    is_browser = wants_html(ask.accept, "")
    return Answer(200, PLAIN if is_browser else sandesh.CONTENT_TYPE, body)


class Desk:
    """Answers. Holds the sources and the HTML renderer."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._html = html.HtmlRenderer()

    @property
    def style_source(self) -> str:
        """The CSP source expression of the HTML pages' style sheet."""
        return self._html.style_source

    async def answer(self, ask: Ask) -> Answer:
        """Any answer, 404 included. Raises what the sources raise."""
        if len(ask.query) > MAX_QUERY:
            text = f"The query is {len(ask.query)} bytes long, {MAX_QUERY} are allowed."
            return refuse(Refusal(414, "query", text))
        match ask.path:
            case "/" | "/index.html":
                return self._people(ask, overview(self._sources, MODULES), xml="")
            case "/metrics":
                return self._metrics()
            case "/healthz":
                return Answer(200, PLAIN, b"ok\n")
            case "/readyz":
                return self._ready()
        name = ask.path.removeprefix("/Snh_")
        if name != ask.path and name in BY_NAME:
            return await self._request(ask, BY_NAME[name])
        return self._module(ask)

    async def _request(self, ask: Ask, request: Request) -> Answer:
        refusal = change_refusal(ask.head) if request.changes else None
        if refusal is not None:
            return refuse(refusal)
        query = parse(ask.query, request.names)
        page = request.answer(self._sources, query.arguments)
        if not isinstance(page, Page):
            page = await page
        if wants_html(ask.accept, query.format):
            xml = urlencode({**query.arguments, "format": "xml"})
            return self._people(ask, page, xml=f"{ask.path}?{xml}")
        return _xml(ask, sandesh.document(page.parts, is_list=page.is_list))

    def _module(self, ask: Ask) -> Answer:
        module = ask.path.removeprefix("/").removesuffix(".xml")
        query = parse(ask.query, ())
        if ask.path != f"/{module}.xml" or module not in MODULES:
            return self._not_found(ask, query)
        if wants_html(ask.accept, query.format):
            return self._people(ask, module_page(module), xml=f"{ask.path}?format=xml")
        return _xml(ask, module_document(module))

    def _not_found(self, ask: Ask, query: Query) -> Answer:
        if not wants_html(ask.accept, query.format):
            return Answer(404, html.CONTENT_TYPE, NOT_FOUND)
        page = Page("Not found", f"There is no page {ask.path[:200]} here.", ())
        return self._people(ask, page, xml="", status=404)

    def _people(self, ask: Ask, page: Page, *, xml: str, status: int = 200) -> Answer:
        when = f"{utc(int(ask.now * 1e6))[:19]} UTC"
        frame = html.Frame(ask.path, xml, when, self._sources.version)
        return Answer(status, html.CONTENT_TYPE, self._html.render(page, frame))

    def _metrics(self) -> Answer:
        snapshot = self._sources.statistics.snapshot()
        body = prometheus.exposition(snapshot, version=self._sources.version)
        return Answer(200, prometheus.CONTENT_TYPE, body)

    def _ready(self) -> Answer:
        reason = self._sources.ready()
        if reason is None:
            return Answer(200, PLAIN, b"ready\n")
        return Answer(503, PLAIN, f"{sandesh.legal(reason)}\n".encode())
