"""One POST to a target: connect, send, read one reply of bounded size, close.

Three deadlines: for the connection with its TLS handshake, for the silence between two
pieces of the reply, and (the caller's, by cancelling) for all of it. No redirect, no
proxy from the environment, no second try.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from vagent.errors import UpstreamError, WireError
from vagent.keystone.credentials import Headers
from vagent.metadata.http.response_reader import ResponseReader, parse_response_head
from vagent.nova.vendordata.answer import MAX_ANSWER, Response, TargetError
from vagent.transport.tls import TlsClient
from vagent.transport.without_pyopenssl import without_pyopenssl

USER_AGENT = "openstack-nova-vendordata"
"""Nova's: a target may tell by it whom it talks to."""


@dataclass(frozen=True, slots=True)
class TargetUrl:
    """Where a URL leads: host and port to connect to, path to ask for."""

    host: str
    port: int
    uses_tls: bool
    path: str

    @classmethod
    def of(cls, url: str) -> TargetUrl:
        """Of a URL that agent.conf let through."""
        parts = urlsplit(url)
        uses_tls = parts.scheme == "https"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        port = parts.port or (443 if uses_tls else 80)
        return cls(parts.hostname or "", port, uses_tls, path)

    @property
    def authority(self) -> str:
        """The Host header: without the port that its scheme has anyway."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.uses_tls else 80
        return host if self.port == usual else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class CallDeadlines:
    """Seconds for the connection, and for each wait for a piece of the reply."""

    connect: float
    read: float


@dataclass(frozen=True, slots=True)
class Post:
    """One request. `headers` hold credentials and are never shown."""

    place: TargetUrl
    body: bytes = field(repr=False)
    headers: Headers = field(default=(), repr=False)

    def rendered(self) -> bytes:
        """The request as it is sent, head and body in one piece."""
        lines = [
            f"POST {self.place.path} HTTP/1.1",
            f"Host: {self.place.authority}",
            f"User-Agent: {USER_AGENT}",
            "Accept: application/json",
            "Accept-Encoding: identity",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
        ]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + self.body


def endpoint_of(host: str, port: int, seconds: float, reactor: Any) -> Any:
    """What connects to a host name. Imported late, because it costs 3 MiB that an agent
    without targets can do without.
    """
    with without_pyopenssl():
        from twisted.internet.endpoints import HostnameEndpoint

    return HostnameEndpoint(reactor, host.encode("ascii"), port, seconds)


async def call(
    post: Post,
    context: ssl.SSLContext | None,
    *,
    deadlines: CallDeadlines,
    reactor: Any,
) -> Response:
    """The reply, whatever its status. Raises TargetError.

    `context` is what TLS is done with, None for plain HTTP. May be cancelled.
    """
    exchange = Exchange(post.rendered(), deadlines, reactor)
    protocol: Protocol = exchange
    if context is not None:
        protocol = TlsClient(
            exchange, context, post.place.host, session=None, failed=exchange.failed
        )
    endpoint = endpoint_of(post.place.host, post.place.port, deadlines.connect, reactor)
    attempt = endpoint.connect(Factory.forProtocol(lambda: protocol))
    attempt.addErrback(exchange.not_connected)
    try:
        return await exchange.done
    finally:
        attempt.cancel()
        transport: Any = protocol.transport
        if transport is not None:
            transport.abortConnection()


class Exchange(Protocol):
    """Sends the request once the connection (TLS included) is there; `done` fires with
    the Response or fails with TargetError, once.
    """

    def __init__(
        self, request: bytes, deadlines: CallDeadlines, clock: IReactorTime
    ) -> None:
        self.done: Deferred[Response] = Deferred()
        self._request = request
        self._deadlines = deadlines
        self._clock = clock
        self._reader = ResponseReader(parse_response_head)
        self._pieces: list[bytes] = []
        self._size = 0
        self._over = False
        self._timer: IDelayedCall = clock.callLater(
            deadlines.connect, self._late, "no connection", deadlines.connect
        )
        self.done.addBoth(self._finished)

    def connectionMade(self) -> None:
        """The target is there and, over TLS, verified."""
        if self._over:
            return
        self._wait("no answer")
        if self.transport is not None:
            self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """A piece of the reply."""
        if self._over:
            return
        self._wait("the answer stopped")
        try:
            content, complete = self._reader.feed(data)
        except WireError as error:
            self._fail("malformed", str(error))
            return
        self._size += len(content)
        if self._size > MAX_ANSWER:
            self._fail("too-large", f"more than {MAX_ANSWER} bytes")
            return
        self._pieces.append(content)
        if complete:
            self._complete()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Complete, where the end of the connection is the end of the reply."""
        if self._over:
            return
        if self._reader.end_of_input():
            self._complete()
        else:
            self._fail(
                "closed", f"closed before the answer was complete: {reason.value}"
            )

    def failed(self, error: UpstreamError) -> None:
        """TLS failed."""
        self._fail("tls", str(error))

    def not_connected(self, reason: Failure) -> None:
        """TCP failed, or was cancelled."""
        what = str(reason.value) or type(reason.value).__name__
        self._fail("connect", f"cannot connect: {what}")

    def _wait(self, what: str) -> None:
        self._timer.cancel()
        seconds = self._deadlines.read
        self._timer = self._clock.callLater(seconds, self._late, what, seconds)

    def _late(self, what: str, seconds: float) -> None:
        self._fail("timeout", f"{what} within {seconds:g} s")

    def _complete(self) -> None:
        head = self._reader.head
        if head is not None and not self._over:
            self._over = True
            self.done.callback(
                Response(head.status, head.fields, b"".join(self._pieces))
            )

    def _fail(self, kind: str, what: str) -> None:
        if not self._over:
            self._over = True
            self.done.errback(TargetError(kind, what))

    def _finished(self, result: Any) -> Any:
        self._over = True
        if self._timer.active():
            self._timer.cancel()
        return result
