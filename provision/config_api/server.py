"""The config API over HTTP. The calls are in `contrail` (Contrail's) and `vagent`
(ours).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from urllib.parse import parse_qsl
from uuid import UUID, uuid4

from twisted.internet.interfaces import IReactorTime

from provision.config_api.contrail import ConfigApi
from provision.config_api.effect import HEADER, Effect, Following
from provision.config_api.events import ApiAnswered, ApiFailed
from provision.config_api.instances import AnyInstance, Embedded, InstanceCalls
from provision.config_api.reply import (
    MAX_BODY,
    ConfigApiReply,
    ConfigApiRequest,
    text_reply,
)
from provision.config_api.routes import ApiRoute, dispatch
from provision.config_api.vagent import Additions, no_endpoints
from vagent.datapath.endpoints.health import EndpointState
from vagent.linklocal.own_servers import OwnServers
from vagent.linklocal.service import LinkLocalService
from vagent.linklocal.table import ServiceTable
from vagent.observe.event import Emit
from vagent.store.store import ConfigStore
from vagent.web.admission import Denial
from vagent.web.exchange import SiteReply, SiteRequest
from vagent.web.gate import Gate
from vagent.web.site import OperatorSite, is_change

INSTANCES = "vagent/instance"
"""The beginning of the paths of instances and of their list."""
LOOK_UPS = ("/fqname-to-id", "/id-to-fqname")
"""Paths of calls that change nothing, although they are POST."""


def config_api_site(
    store: ConfigStore,
    *,
    names: Container[str],
    gate: Gate,
    emit: Emit,
    clock: IReactorTime,
    services: Callable[[], ServiceTable],
    embedded: Embedded | None = None,
    new_uuid: Callable[[], UUID] = uuid4,
    endpoints_of: Callable[[LinkLocalService], Iterable[EndpointState]] = no_endpoints,
    following: Following | None = None,
    own: OwnServers | None = None,
) -> OperatorSite:
    """The site to listen with.

    `names` are the host names by which clients may call it, `gate` decides who may.
    `services` gives the table in force. `embedded` stands for the embedded metadata
    server; without one any object is an instance. `endpoints_of` gives a service's
    fabric endpoints and their health. A change is answered when the agent that is
    `following` the store has it in force; without one, when it is stored.
    Services that lead to one of the agent's `own` servers are refused.
    """
    effect = Effect(following, clock) if following else None
    api = ConfigApi(store, new_uuid=new_uuid, effect=effect, own=own)
    additions = Additions(
        services=services, endpoints_of=endpoints_of, following=following
    )
    instances = InstanceCalls(store, embedded or AnyInstance())
    routes = api.routes() + additions.routes() + instances.routes()
    dialect = ConfigDialect(routes, emit)
    return OperatorSite(
        "config API",
        dialect,
        names=names,
        gate=gate,
        emit=emit,
        max_body=MAX_BODY,
        clock=clock,
        is_change=is_logged,
    )


class ConfigDialect:
    """Contrail's form: documents are JSON, errors plain text. Revisions are ETags."""

    def __init__(self, routes: tuple[ApiRoute, ...], emit: Emit) -> None:
        self._routes = routes
        self._emit = emit

    async def answer(self, request: SiteRequest) -> SiteReply:
        """The reply to a call, or to one that is refused because of what it asks."""
        reply = await dispatch(self._routes, _api_request(request))
        return self._site_reply(request, reply)

    def refuse(self, request: SiteRequest, denial: Denial) -> SiteReply:
        """The denial's sentence."""
        return self._site_reply(request, text_reply(denial.status, denial.text))

    def fail(self, request: SiteRequest, error: Exception) -> SiteReply:
        """500 without details of the fault."""
        self._emit(ApiFailed(type(error).__name__))
        return self._site_reply(request, text_reply(500, "Internal Server Error"))

    def _site_reply(self, request: SiteRequest, reply: ConfigApiReply) -> SiteReply:
        self._emit(ApiAnswered(request.method, request.path, reply.status))
        headers = [
            ("Server", "vagent"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-store"),
        ]
        if reply.revision is not None:
            headers.append(("ETag", f'"{reply.revision}"'))
        if reply.in_force:
            headers.append((HEADER, reply.in_force))
        if reply.allow:
            headers.append(("Allow", ", ".join(reply.allow)))
        return SiteReply(reply.status, reply.body, reply.content_type, tuple(headers))


def _api_request(request: SiteRequest) -> ConfigApiRequest:
    return ConfigApiRequest(
        request.method,
        request.path,
        root=f"http://{request.authority}",
        query=dict(parse_qsl(request.query, keep_blank_values=True)),
        body=request.body,
        if_match=request.headers.get("if-match"),
        if_none_match=request.headers.get("if-none-match"),
    )


def is_logged(request: SiteRequest) -> bool:
    """Changes, and whoever reads instances: their user data holds secrets."""
    if request.path in LOOK_UPS:
        return False
    return is_change(request) or request.path.strip("/").startswith(INSTANCES)
