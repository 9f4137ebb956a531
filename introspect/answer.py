"""A request's path, query and head become an answer: status, type, body.

Pure but for what the sources read. A page's form follows what the client accepts:
browsers get HTML, everything else gets Contrail's XML. Metrics, and traces as JSON,
have paths of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlencode

from introspect import html, prometheus, sandesh, status_json, trace_json
from introspect.access import change_denial, method_denial, wants_html
from introspect.page import Page
from introspect.pages.overview import overview
from introspect.pages.traces import utc
from introspect.query import MAX_QUERY, Query, parse
from introspect.requests import (
    BY_NAME,
    MODULES,
    SandeshRequest,
    module_document,
    module_page,
)
from introspect.sources import Sources
from vagent.web.admission import Denial

PLAIN = "text/plain; charset=utf-8"
NOT_FOUND = (
    b"<html>\n<head>\n <title>404 Not Found</title>\n</head>\n</html>\n"  # as Contrail
)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What the client asks. `query` has no `?`; `marks` are the BROWSER_MARKS among its
    headers; `now` is in seconds since the epoch.
    """

    method: str
    path: str
    query: str
    accept: str
    marks: frozenset[str]
    now: float


@dataclass(frozen=True, slots=True)
class PageReply:
    """The reply. `refused` is the reason of a denial, "" if the request was
    answered.
    """

    status: int
    content_type: str
    body: bytes = field(repr=False)
    refused: str = ""


def refuse(denial: Denial) -> PageReply:
    """The reply to a request that is not allowed."""
    body = f"{denial.text}\n".encode()
    return PageReply(denial.status, PLAIN, body, denial.reason)


def _xml(ask: PageRequest, body: bytes) -> PageReply:
    # A browser that may not load the style sheet would show XML as an empty page.
    is_browser = wants_html(ask.accept, "")
    return PageReply(200, PLAIN if is_browser else sandesh.CONTENT_TYPE, body)


class PageRouter:
    """Finds the page that a path names, in the form that the client accepts."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._html = html.HtmlRenderer()

    @property
    def style_source(self) -> str:
        """The CSP source expression of the HTML pages' style sheet."""
        return self._html.style_source

    async def answer(self, ask: PageRequest) -> PageReply:
        """Any reply, refusals included. Raises what the sources raise."""
        denial = method_denial(ask.method)
        if denial is not None:
            return refuse(denial)
        if len(ask.query) > MAX_QUERY:
            text = f"The query is {len(ask.query)} bytes long, {MAX_QUERY} are allowed."
            return refuse(Denial(414, "query", text))
        match ask.path:
            case "/" | "/index.html":
                return self._people(ask, overview(self._sources, MODULES), xml="")
            case "/metrics":
                return self._metrics()
            case "/status":
                body = status_json.status(self._sources)
                return PageReply(200, status_json.CONTENT_TYPE, body)
            case "/healthz":
                return PageReply(200, PLAIN, b"ok\n")
            case "/readyz":
                return await self._ready()
        if ask.path == trace_json.PATH or ask.path.startswith(f"{trace_json.PATH}/"):
            return self._traces(ask)
        name = ask.path.removeprefix("/Snh_")
        if name != ask.path and name in BY_NAME:
            return await self._request(ask, BY_NAME[name])
        return self._module(ask)

    async def _request(self, ask: PageRequest, request: SandeshRequest) -> PageReply:
        if request.changes:
            denial = change_denial(ask.method, ask.marks)
            if denial is not None:
                return refuse(denial)
        query = parse(ask.query, request.names)
        page = request.answer(self._sources, query.arguments)
        if not isinstance(page, Page):
            page = await page
        if wants_html(ask.accept, query.format):
            xml = urlencode({**query.arguments, "format": "xml"})
            return self._people(ask, page, xml=f"{ask.path}?{xml}")
        return _xml(ask, sandesh.document(page.parts, is_list=page.is_list))

    def _module(self, ask: PageRequest) -> PageReply:
        module = ask.path.removeprefix("/").removesuffix(".xml")
        query = parse(ask.query, ())
        if ask.path != f"/{module}.xml" or module not in MODULES:
            return self._not_found(ask, query)
        if wants_html(ask.accept, query.format):
            return self._people(ask, module_page(module), xml=f"{ask.path}?format=xml")
        return _xml(ask, module_document(module))

    def _not_found(self, ask: PageRequest, query: Query) -> PageReply:
        if not wants_html(ask.accept, query.format):
            return PageReply(404, html.CONTENT_TYPE, NOT_FOUND)
        page = Page("Not found", f"There is no page {ask.path[:200]} here.", ())
        return self._people(ask, page, xml="", status=404)

    def _people(
        self, ask: PageRequest, page: Page, *, xml: str, status: int = 200
    ) -> PageReply:
        when = f"{utc(ask.now)[:19]} UTC"
        frame = html.Frame(ask.path, xml, when, self._sources.version)
        return PageReply(status, html.CONTENT_TYPE, self._html.render(page, frame))

    def _traces(self, ask: PageRequest) -> PageReply:
        status, body = trace_json.answer(self._sources.traces, ask.path, ask.query)
        return PageReply(status, trace_json.CONTENT_TYPE, body)

    def _metrics(self) -> PageReply:
        snapshot = self._sources.statistics.snapshot()
        body = prometheus.exposition(snapshot, version=self._sources.version)
        return PageReply(200, prometheus.CONTENT_TYPE, body)

    async def _ready(self) -> PageReply:
        await self._sources.look()
        reason = self._sources.ready()
        if reason is None:
            return PageReply(200, PLAIN, b"ready\n")
        return PageReply(503, PLAIN, f"{sandesh.legal(reason)}\n".encode())
