"""The port REST API over HTTP, in Contrail's form: JSON, the reason phrase `OK`
whatever the status, no headers but Content-Type and Content-Length.

What a call does is decided in `api`.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from twisted.internet.interfaces import IReactorTime

from vagent.observe.event import Emit
from vagent.ports.api import (
    MAX_BODY,
    PortApi,
    PortApiReply,
    RefusalsOf,
    StateOf,
    failed,
    no_refusals,
    state_of_registration,
)
from vagent.ports.events import PortRequestRefused
from vagent.ports.registrar import Registrar
from vagent.web.admission import Denial
from vagent.web.exchange import SiteReply, SiteRequest
from vagent.web.gate import Gate
from vagent.web.site import OperatorSite

CONTENT_TYPE = "application/json; charset=UTF-8"


class PortDialect:
    """Contrail's form of replies and errors."""

    def __init__(self, api: PortApi, *, emit: Emit) -> None:
        self._api = api
        self._emit = emit

    async def answer(self, request: SiteRequest) -> SiteReply:
        """The reply to a call. A query is ignored, as in Contrail."""
        reply = await self._api.call(request.method, request.path, request.body)
        return self._site_reply(request, reply)

    def refuse(self, request: SiteRequest, denial: Denial) -> SiteReply:
        """`{"error":"{ … }"}` with the denial's status."""
        return self._site_reply(request, failed(denial.status, f"{{ {denial.text} }}"))

    def fail(self, request: SiteRequest, error: Exception) -> SiteReply:
        """500 with the kind of fault and no details."""
        what = f"{{ internal error: {type(error).__name__} }}"
        return self._site_reply(request, failed(500, what))

    def _site_reply(self, request: SiteRequest, reply: PortApiReply) -> SiteReply:
        if reply.error:
            method, path = request.method[:16], request.path[:80]
            self._emit(PortRequestRefused(method, path, reply.status, reply.error))
        return SiteReply(
            reply.status,
            reply.body,
            CONTENT_TYPE,
            parts=reply.parts,
            phrase="OK",
        )


def port_api_site(
    registrar: Registrar,
    *,
    names: Container[str],
    gate: Gate,
    emit: Emit,
    clock: IReactorTime,
    now: Callable[[], float],
    state_of: StateOf = state_of_registration,
    refusals_of: RefusalsOf = no_refusals,
) -> OperatorSite:
    """The site to listen with. `names` are the host names by which it may be called,
    `gate` decides who may, `now` gives seconds since the epoch.
    """
    api = PortApi(registrar, now=now, state_of=state_of, refusals_of=refusals_of)
    return OperatorSite(
        "port API",
        PortDialect(api, emit=emit),
        names=names,
        gate=gate,
        emit=emit,
        max_body=MAX_BODY,
        clock=clock,
        stopped=registrar.stop,
    )
