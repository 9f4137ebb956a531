"""TLS of the metadata server: it demands a client certificate.

The inner protocol learns of a connection as soon as TCP is up, so that the site's limit
of connections and its idle timer cover the handshake as well. Before the client is
verified it gets no byte, and nothing that it writes is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from vagent.nova.events import NovaHandshakeFailed
from vagent.nova.tls_files import ServerContexts
from vagent.observe.event import Emit
from vagent.transport.tls import TlsConnection

LINGER_SECONDS = 15.0
"""Seconds that a client has to read the last bytes and close. What it sends meanwhile
is read and dropped: to close a socket with unread bytes sends a reset, which can reach
the client before it has read the reply."""

_failure: Callable[[Exception], Failure] = Failure


@implementer(IPushProducer, IConsumer)
class TlsServer(TlsConnection):
    """The server's side of one connection; a transport for `MetadataChannel`."""

    def __init__(
        self,
        inner: Protocol,
        contexts: ServerContexts,
        *,
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        super().__init__(inner, contexts.context())
        self._emit = emit
        self._clock = clock
        self._producer: Any = None
        self._lingering: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """TCP is up; the client speaks first."""
        super().connectionMade()
        self._inner.makeConnection(cast("Any", self))

    def dataReceived(self, data: bytes) -> None:
        """Decrypt. A client that makes TLS answer, and does not read that, is reset."""
        if self._is_over:
            return
        super().dataReceived(data)
        if self._outgoing.pending:
            if self._wire.pending:
                self.abortConnection()
            else:
                self._flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is closed."""
        del reason
        self._is_over = self._wire.closed = True
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        self._inner.connectionLost(_failure(self._end or ConnectionLost()))

    # The methods of a transport that the inner protocol calls.

    @property
    def disconnecting(self) -> bool:
        """Nothing more will be read or written."""
        return self._is_over

    def getHost(self) -> IAddress:
        """The address that the client connected to."""
        return cast("IAddress", cast("Any", self.transport).getHost())

    def write(self, data: bytes) -> None:
        """Encrypt and send; pause the producer while the client does not keep up."""
        if not self._verified or self._is_over or not data:
            return
        super().write(data)
        if self._wire.pending and self._producer is not None:
            self._producer.pauseProducing()

    def writeSequence(self, data: list[bytes]) -> None:
        """Write all of it."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """`producer` is paused and resumed."""
        del streaming
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Pause nobody any more."""
        self._producer = None

    def stopProducing(self) -> None:
        """Nothing more is wanted of the client: close."""
        self.loseConnection()

    def loseConnection(self) -> None:
        """Send close_notify and wait for the client to close. During the handshake:
        reset.
        """
        if self._is_over:
            return
        if not self._verified:
            self.abortConnection()
            return
        self._say_goodbye()
        self._linger()

    def _greeted(self) -> None:
        """Nothing to do: what came with the end of the handshake is decrypted next."""

    def _fail(self, why: str) -> None:
        """The handshake failed; the alert that tells the client is sent already."""
        self._end = ConnectionLost(why)
        self._emit(NovaHandshakeFailed(cast("Any", self.getPeer()).host, why))
        self._linger()

    def _drained(self) -> None:
        if self._is_over:
            self._wire.finish()
        elif self._producer is not None:
            self._producer.resumeProducing()

    def _linger(self) -> None:
        self._is_over = True
        self._lingering = self._clock.callLater(LINGER_SECONDS, self.abortConnection)
        self.resumeProducing()
        if not self._wire.pending:
            self._wire.finish()


class TlsFactory(Factory):
    """Puts TLS around each connection of a site."""

    noisy = False

    def __init__(
        self,
        contexts: ServerContexts,
        site: IProtocolFactory,
        *,
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._contexts = contexts
        self._site = site
        self._emit = emit
        self._clock = clock

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """A connection with a context of the files as they are now."""
        inner = self._site.buildProtocol(cast("Any", addr))
        if inner is None:
            return None
        return TlsServer(
            cast("Protocol", inner),
            self._contexts,
            emit=self._emit,
            clock=self._clock,
        )
