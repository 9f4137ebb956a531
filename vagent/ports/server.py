"""HTTP of the port REST API (127.0.0.1:9091): bytes in, PortApi's replies out.

Anybody on this host may call it, as in Contrail, so what it guards against is accident
and browsers: a web page must not reach it (Origin, foreign Host names), and nobody can
fill the memory. Knows no route and no port.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from io import BytesIO
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, HTTPFactory, Request

from vagent.observe.event import Emit
from vagent.ports.api import (
    MAX_BODY,
    PortApi,
    Reply,
    StateOf,
    failed,
    state_of_registration,
)
from vagent.ports.events import PortRequestRefused
from vagent.ports.registrar import Registrar

IDLE_TIMEOUT = 30.0
"""Seconds that a connection may be silent while a request is awaited."""
MAX_CONNECTIONS = 64
"""Open at a time: with MAX_BODY each, 256 MiB at the very worst."""
MAX_DISCARDED = 4 * MAX_BODY
"""Bytes of a too long body that are read away so that the caller sees the 413."""
HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9A-Za-z.-]{1,253}))(?::\d{1,5})?")
REASON = b"OK"
"""Contrail's reason phrase, whatever the status."""


def refusal(
    origins: Sequence[bytes] | None, hosts: Sequence[bytes] | None
) -> Reply | None:
    """Turn away what a browser sends for a web page: DNS rebinding and cross-origin."""
    if origins:
        return failed(403, "{ Cross-origin request refused }")
    if hosts is not None and (len(hosts) != 1 or not is_local_name(hosts[0])):
        return failed(403, "{ Host is neither localhost nor an IP address }")
    return None


def is_local_name(host: bytes) -> bool:
    """Is this Host header one that no foreign DNS zone can answer for?"""
    match = HOST.fullmatch(host.decode("latin-1"))
    if match is None:
        return False
    name = match[1] or match[2]
    if name.lower() == "localhost":
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class PortRequest(Request):
    """One call. The body is kept in memory up to MAX_BODY and no further."""

    channel: PortChannel
    content: BytesIO
    _received = 0
    _gone = False

    def gotLength(self, length: int | None) -> None:
        """Keep the body in memory (Twisted would spool a long one to /tmp) and as it
        is: `curl -d` calls JSON a form, and Twisted would parse it as one.
        """
        self.content = BytesIO()
        self.requestHeaders.removeHeader(b"content-type")

    def handleContentChunk(self, data: bytes) -> None:
        """Keep what fits, discard the rest, hang up on what has no end."""
        self._received += len(data)
        if self._received <= MAX_BODY:
            self.content.write(data)
        elif self._received > MAX_DISCARDED:
            self.loseConnection()

    def process(self) -> None:
        """Answer when the answer is there; a caller that went away does not matter."""
        self.notifyFinish().addErrback(self._left)
        Deferred.fromCoroutine(self._answer()).addErrback(self._broken)

    async def _answer(self) -> None:
        site = self.channel.site
        method, path = self.method.decode("latin-1"), self.path.decode("latin-1")
        reply = self._refusal()
        if reply is None:
            reply = await site.api.call(method, path, self.content.getvalue())
        if reply.error:
            site.emit(
                PortRequestRefused(method[:16], path[:80], reply.status, reply.error)
            )
        await self._send(reply)

    def _refusal(self) -> Reply | None:
        headers = self.requestHeaders
        origins = headers.getRawHeaders(b"origin")
        refused = refusal(origins, headers.getRawHeaders(b"host"))
        if refused is None and self._received > MAX_BODY:
            return failed(413, f"{{ Body is longer than {MAX_BODY} bytes }}")
        return refused

    async def _send(self, reply: Reply) -> None:
        out: Any = self  # Twisted has no types for these methods
        part = next(reply.parts, None)
        self.setResponseCode(reply.status, REASON)
        out.setHeader(b"Content-Type", b"application/json; charset=UTF-8")
        if part is None:
            out.setHeader(b"Content-Length", str(len(reply.body)).encode())
        if not self._gone:
            out.write(reply.body)
        while part is not None and not self._gone:
            out.write(part)
            await deferLater(self.channel.site.reactor, 0)
            part = next(reply.parts, None)
        if not self._gone:
            out.finish()

    def _left(self, _failure: Failure) -> None:
        self._gone = True

    def _broken(self, failure: Failure) -> None:
        """Border: a fault of ours costs one connection, not the agent."""
        what = f"internal error: {failure.value!r}"
        method = self.method.decode("latin-1")[:16]
        self.channel.site.emit(PortRequestRefused(method, "", 500, what))
        if not self._gone:
            self.loseConnection()


class PortChannel(HTTPChannel):
    """A connection, counted by its site."""

    site: PortSite

    def connectionMade(self) -> None:
        """Count it; hang up if it is one too many."""
        super().connectionMade()
        self.site.connections += 1
        if self.site.connections > MAX_CONNECTIONS:
            self.loseConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # its default is a global
        """It counts no more."""
        self.site.connections -= 1
        super().connectionLost(reason)


class PortSite(HTTPFactory):
    """What `listenTCP` gets. Has no access log: events say what was refused."""

    protocol = PortChannel  # type: ignore[assignment]  # a factory, says Twisted
    connections = 0

    def __init__(
        self, api: PortApi, registrar: Registrar, *, emit: Emit, clock: IReactorTime
    ) -> None:
        super().__init__(timeout=IDLE_TIMEOUT, reactor=clock)
        self.api = api
        self.emit = emit
        self._registrar = registrar

    def __repr__(self) -> str:
        return f"<PortSite {self.connections}/{MAX_CONNECTIONS} connections>"

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A connection that knows its site and reads requests as PortRequest."""
        channel: Any = super().buildProtocol(addr)
        channel.requestFactory = PortRequest
        channel.site = self
        return channel

    def startFactory(self) -> None:
        """No log file, so no timer that spells its dates."""

    def stopFactory(self) -> None:
        """End a sync that is under way."""
        self._registrar.stop()

    def log(self, request: Request) -> None:
        """No access log."""


def port_api_site(
    registrar: Registrar,
    *,
    emit: Emit,
    clock: IReactorTime,
    now: Callable[[], float],
    state_of: StateOf = state_of_registration,
) -> PortSite:
    """The port REST API, to be given to `listenTCP` on a loopback address. `now` gives
    seconds since the epoch.
    """
    api = PortApi(registrar, now=now, state_of=state_of)
    return PortSite(api, registrar, emit=emit, clock=clock)
