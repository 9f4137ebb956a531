"""The introspection server: pages over HTTP. What a page shows is decided in
`answer`.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from twisted.internet.interfaces import IReactorTime

from introspect.access import BROWSER_MARKS
from introspect.answer import PLAIN, PageReply, PageRequest, PageRouter, refuse
from introspect.events import PageFailed, PageRefused
from introspect.sources import Sources
from vagent.observe.event import Emit
from vagent.observe.observer import describe
from vagent.web.admission import Denial
from vagent.web.exchange import SiteReply, SiteRequest
from vagent.web.gate import Gate
from vagent.web.site import OperatorSite

MAX_BODY = 65_536
"""Bytes of a request's body. It is read and has no meaning."""


def introspect_site(
    sources: Sources,
    *,
    names: Container[str],
    gate: Gate,
    emit: Emit,
    clock: IReactorTime,
    now: Callable[[], float],
) -> OperatorSite:
    """The site to listen with. `names` are the host names by which operators may call
    it, `gate` decides who may, `now` gives seconds since the epoch.
    """
    dialect = IntrospectDialect(sources, emit=emit, now=now)
    return OperatorSite(
        "introspection",
        dialect,
        names=names,
        gate=gate,
        emit=emit,
        max_body=MAX_BODY,
        clock=clock,
        is_change=lambda _request: False,
    )


class IntrospectDialect:
    """Pages, with headers that protect the browser showing them; errors are plain text.

    Replies are complete, have a length, and may not be cached.
    """

    def __init__(
        self, sources: Sources, *, emit: Emit, now: Callable[[], float]
    ) -> None:
        self._router = PageRouter(sources)
        self._emit = emit
        self._now = now
        self._headers = _security_headers(self._router.style_source)

    async def answer(self, request: SiteRequest) -> SiteReply:
        """Any page, 404 included."""
        marks = frozenset(name for name in BROWSER_MARKS if name in request.headers)
        reply = await self._router.answer(
            PageRequest(
                method=request.method,
                path=request.path,
                query=request.query,
                accept=request.headers.get("accept", ""),
                marks=marks,
                now=self._now(),
            )
        )
        return self._site_reply(reply)

    def refuse(self, request: SiteRequest, denial: Denial) -> SiteReply:
        """One sentence as plain text."""
        return self._site_reply(refuse(denial))

    def fail(self, request: SiteRequest, error: Exception) -> SiteReply:
        """One sentence as plain text, without details of the failure."""
        self._emit(PageFailed(request.path, describe(error)))
        body = b"This page failed; the log says why.\n"
        return self._site_reply(PageReply(500, PLAIN, body))

    def _site_reply(self, reply: PageReply) -> SiteReply:
        if reply.refused:
            self._emit(PageRefused(reply.refused))
        allow = (("Allow", "GET, HEAD"),) if reply.status == 405 else ()
        headers = (*self._headers, *allow)
        return SiteReply(reply.status, reply.body, reply.content_type, headers)


def _security_headers(style_source: str) -> tuple[tuple[str, str], ...]:
    policy = (
        f"default-src 'none'; style-src {style_source}; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    return (
        ("Server", "vagent"),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", policy),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
    )
