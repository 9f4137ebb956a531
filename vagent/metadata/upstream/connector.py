"""Opens a connection to an endpoint: TCP, then TLS if configured, in one deadline."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import defer
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, DNSLookupError, UserError
from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.python.failure import Failure

from vagent.certificates.per_endpoint import UpstreamTls
from vagent.config.model import MetadataProxyConfig
from vagent.errors import UpstreamError
from vagent.linklocal.own_servers import OwnServers
from vagent.metadata.http.date import DateLine
from vagent.metadata.http.parsed_heads import ResponseHeadParser
from vagent.metadata.upstream.connection import UpstreamConnection
from vagent.metadata.upstream.endpoint import UpstreamEndpoint
from vagent.metadata.upstream.resolver import ReactorWithout
from vagent.observe.event import Emit
from vagent.transport.deadlines import Deadlines
from vagent.transport.tls import TlsClient
from vagent.transport.without_pyopenssl import without_pyopenssl

_CONNECT_ERRORS = (
    CancelledError,
    ConnectError,
    DNSLookupError,
    OSError,
    UserError,
    defer.TimeoutError,
)

SILENCE_SHARE = 0.5
"""Of the connect timeout. So a pooled connection to an endpoint that is gone, and a
connect to another one after that, stay within the 10 s that cloud-init waits."""


class UpstreamConnector:
    """Opens connections. `default_port` is 443 over TLS, else 80."""

    def __init__(
        self,
        config: MetadataProxyConfig,
        *,
        emit: Emit,
        deadlines: Deadlines,
        reactor: Any,
        date: DateLine,
        own: OwnServers | None = None,
    ) -> None:
        self._config = config
        self._deadlines = deadlines
        self._reactor = reactor
        self._parse = ResponseHeadParser(date).parse
        self._reactor_for_names = ReactorWithout(reactor, own, emit) if own else reactor
        self._tls = UpstreamTls(config.tls, emit) if config.tls else None
        self.default_port = 443 if config.tls else 80

    async def connect(self, endpoint: UpstreamEndpoint) -> UpstreamConnection:
        """A connection ready for requests. Raises UpstreamError (503)."""
        connection = UpstreamConnection(
            endpoint,
            parse=self._parse,
            deadlines=self._deadlines,
            response_timeout=self._config.response_timeout,
        )
        protocol = self._secured(connection, endpoint)
        cancel = self._start(endpoint, protocol, connection)
        try:
            await connection.ready.addTimeout(
                self._config.connect_timeout, self._reactor
            )
        except _CONNECT_ERRORS as error:
            cancel()
            what = str(error) or type(error).__name__
            raise UpstreamError(f"{endpoint.address}: {what}", status=503) from error
        self._limit_silence(protocol.transport)
        return connection

    def _limit_silence(self, transport: Any) -> None:
        """End the connection when the endpoint acknowledges nothing for a while.

        An endpoint that is suddenly gone (a host that lost power) would otherwise cost
        a guest the whole response timeout though another one would answer (tcp(7),
        TCP_USER_TIMEOUT).
        """
        handle = getattr(transport, "getHandle", None)
        if handle is not None:
            milliseconds = int(self._config.connect_timeout * SILENCE_SHARE * 1000)
            handle().setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds
            )

    def certificate_for(self, endpoint: UpstreamEndpoint) -> str:
        """The client certificate that this endpoint is shown, in words; "" without."""
        if self._tls is None:
            return ""
        return self._tls.of(endpoint.address.host, endpoint.name).shown

    def keep_session(self, connection: UpstreamConnection) -> None:
        """Let the next connection to this endpoint resume this one's TLS session."""
        transport: object = connection.transport
        if self._tls is not None and isinstance(transport, TlsClient):
            endpoint = connection.endpoint
            files = self._tls.of(endpoint.address.host, endpoint.name)
            files.keep_session(_server(endpoint), transport)

    def _secured(
        self, connection: UpstreamConnection, endpoint: UpstreamEndpoint
    ) -> Protocol:
        """The protocol for the TCP connection: TLS around `connection`, or itself."""
        if self._tls is None:
            return connection
        files = self._tls.of(endpoint.address.host, endpoint.name)
        context = files.context()
        session = files.session(_server(endpoint))
        return TlsClient(
            connection,
            context,
            endpoint.name,
            session=session,
            failed=connection.not_ready,
        )

    def _start(
        self,
        endpoint: UpstreamEndpoint,
        protocol: Protocol,
        connection: UpstreamConnection,
    ) -> Callable[[], object]:
        """Begin to connect. The result ends the attempt, or the connection."""
        address = endpoint.address
        if not endpoint.is_named:
            # Twisted's endpoints would leave a wrapper between transport and protocol.
            factory = _OneConnection(protocol, connection)
            connector = self._reactor.connectTCP(
                address.host, address.port, factory, self._config.connect_timeout
            )
            return cast("Callable[[], object]", connector.disconnect)
        with without_pyopenssl():
            # Imported late: few endpoints are names, and this costs 3 MiB.
            from twisted.internet.endpoints import HostnameEndpoint

        stream = HostnameEndpoint(
            self._reactor_for_names,
            address.host.encode("idna"),
            address.port,
            self._config.connect_timeout,
        )
        attempt = stream.connect(Factory.forProtocol(lambda: protocol))
        attempt.addErrback(connection.not_ready)

        def stop() -> None:
            attempt.cancel()
            if protocol.transport is not None:
                cast("Any", protocol.transport).abortConnection()

        return stop


def _server(endpoint: UpstreamEndpoint) -> tuple[str, str]:
    return str(endpoint.address), endpoint.name


class _OneConnection(ClientFactory):
    """Hands out the one protocol; tells the connection when TCP fails."""

    noisy = False

    def __init__(self, protocol: Protocol, connection: UpstreamConnection) -> None:
        self._protocol = protocol
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """TCP is up."""
        del addr
        return self._protocol

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """Refused, unreachable, or cancelled."""
        del connector
        self._connection.not_ready(reason)
