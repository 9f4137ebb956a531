"""The config API over HTTP: twisted.web at the edge, values inside.

The body's size is checked before it is read: from Content-Length as soon as the head
is there, and while chunks arrive. Refuses to know what the calls mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from provision.config_api.admission import check_host, check_origin
from provision.config_api.contrail import ConfigApi
from provision.config_api.events import ApiAnswered, ApiFailed
from provision.config_api.reply import (
    MAX_BODY,
    ApiRequest,
    RefusedError,
    Reply,
    text_reply,
)
from provision.config_api.routes import Route, dispatch
from provision.config_api.vagent import Additions, no_endpoints
from vagent.datapath.endpoints.liveness import EndpointState
from vagent.linklocal.service import LinkLocalService
from vagent.linklocal.table import ServiceTable
from vagent.observe.event import Emit
from vagent.store.store import ConfigStore

IDLE_TIMEOUT = 60
"""Seconds without a byte after which a connection is closed (Twisted's default)."""
_TOO_LARGE = (
    b"HTTP/1.1 413 Request Entity Too Large\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)

_log = Logger()


def config_api_site(
    store: ConfigStore,
    emit: Emit,
    *,
    reactor: IReactorTime,
    services: Callable[[], ServiceTable],
    check_instance: Callable[[dict[str, Any]], None] = lambda _instance: None,
    companions: Collection[str] = (),
    names: Collection[str] = (),
    new_uuid: Callable[[], UUID] = uuid4,
    endpoints_of: Callable[[LinkLocalService], Iterable[EndpointState]] = no_endpoints,
) -> Site:
    """The factory to listen with.

    `services` gives the table in force; `check_instance` raises WireError for what the
    metadata server could not use; `companions` are the kinds of entries that go when
    an instance is deleted; `names` are host names of this server that clients may call
    it by, beside IP addresses and localhost; `endpoints_of` gives a service's fabric
    endpoints and how they are.
    """
    api = ConfigApi(store, new_uuid=new_uuid)
    additions = Additions(
        store,
        services=services,
        check_instance=check_instance,
        companions=companions,
        endpoints_of=endpoints_of,
    )
    allowed = frozenset(name.lower() for name in names)
    resource = _ApiResource(api.routes() + additions.routes(), emit, allowed)
    return _QuietSite(
        resource, requestFactory=_BoundedRequest, timeout=IDLE_TIMEOUT, reactor=reactor
    )


class _QuietSite(Site):
    def log(self, request: HttpRequest) -> None:
        """No access log: every call is an event."""


class _BoundedRequest(Request):
    """A request whose body may not exceed MAX_BODY."""

    _received = 0
    _too_large = False

    def gotLength(self, length: int | None) -> None:
        """The head is complete; None means a chunked body."""
        super().gotLength(length)
        if length is not None and length > MAX_BODY:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        self._received += len(data)
        if self._received > MAX_BODY:
            self._refuse_body()
        if not self._too_large:
            super().handleContentChunk(data)

    def process(self) -> None:
        """The request is complete."""
        if not self._too_large:
            super().process()

    def _refuse_body(self) -> None:
        if not self._too_large:
            self._too_large = True
            channel: Any = self.channel
            channel.write(_TOO_LARGE)
            channel.loseConnection()


class _ApiResource(Resource):
    def __init__(
        self, routes: tuple[Route, ...], emit: Emit, names: frozenset[str]
    ) -> None:
        super().__init__()
        self.isLeaf = True
        self._routes = routes
        self._emit = emit
        self._names = names

    def render(self, request: Request) -> int:
        """Answer later; a client that has gone by then does not stop the change."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def write(reply: Reply) -> None:
            if not gone:
                _write(request, reply)

        answered = Deferred.fromCoroutine(self._answer(request)).addCallback(write)
        answered.addErrback(
            lambda failure: _log.failure("Writing an answer failed", failure)
        )
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> Reply:
        method = request.method.decode("ascii", "replace")
        path = request.path.decode("utf-8", "replace")
        try:
            reply = await dispatch(self._routes, self._admitted(request, method, path))
        except RefusedError as refusal:
            reply = refusal.reply()
        except Exception as error:  # border: one bad call must not stop the server
            _log.failure("A call of the config API failed")
            self._emit(ApiFailed(type(error).__name__))
            reply = text_reply(500, "Internal Server Error")
        self._emit(ApiAnswered(method, path, reply.status))
        return reply

    def _admitted(self, request: Any, method: str, path: str) -> ApiRequest:
        check_origin(_headers(request, b"origin"))
        here = request.getHost()
        host = check_host(
            _headers(request, b"host"),
            names=self._names,
            default=f"{here.host}:{here.port}",
        )
        scheme = "https" if request.isSecure() else "http"
        query = {
            key.decode("utf-8", "replace"): values[-1].decode("utf-8", "replace")
            for key, values in request.args.items()
        }
        return ApiRequest(
            method,
            path,
            root=f"{scheme}://{host}",
            query=query,
            body=request.content.read(MAX_BODY + 1),
            if_match=_header(request, b"if-match"),
            if_none_match=_header(request, b"if-none-match"),
        )


def _headers(request: Request, name: bytes) -> list[str]:
    values = request.requestHeaders.getRawHeaders(name) or []
    return [value.decode("latin-1") for value in values]


def _header(request: Request, name: bytes) -> str | None:
    values = _headers(request, name)
    return ", ".join(values) if values else None


def _write(request: Any, reply: Reply) -> None:
    request.setResponseCode(reply.status)
    request.setHeader(b"content-type", reply.content_type.encode())
    request.setHeader(b"content-length", str(len(reply.body)).encode())
    request.setHeader(b"x-content-type-options", b"nosniff")
    request.setHeader(b"cache-control", b"no-store")
    if reply.revision is not None:
        request.setHeader(b"etag", f'"{reply.revision}"'.encode())
    if reply.allow:
        request.setHeader(b"allow", ", ".join(reply.allow).encode())
    request.write(reply.body)
    request.finish()
