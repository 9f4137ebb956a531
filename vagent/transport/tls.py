"""Mutual TLS on memory BIOs, with Python's own `ssl`; here, towards an upstream.

Twisted's own TLS layer aggregates writes on a timer and costs more than the rest of a
request; what only ever wraps one connection needs less. The context (see `tls_files`)
demands chain and name within the handshake, and a client's inner protocol learns of the
connection after it, so nothing can be written to a server that is not verified.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from vagent.errors import UpstreamError
from vagent.transport.tls_context import describe
from vagent.transport.wire import READ_SIZE, Wire

_failure: Callable[[Exception], Failure] = Failure


class AlertReceived(ConnectionLost):
    """The peer ended the connection with a TLS alert, e.g. for our certificate."""


class TlsConnection(Protocol):
    """Wraps one TCP connection; is the transport of `inner`.

    With a `name` it is the client, and that is the name of the server. A subclass says
    what follows the handshake, good or bad.
    """

    def __init__(
        self,
        inner: Protocol,
        context: ssl.SSLContext,
        *,
        name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=name is None,
            server_hostname=name,
            session=session,
        )
        self._verified = False
        self._is_over = False
        self._end: Exception | None = None

    def connectionMade(self) -> None:
        """TCP is up."""
        transport = cast("Any", self.transport)
        transport.setTcpNoDelay(True)
        transport.bufferSize = READ_SIZE
        self._wire = Wire(transport, self._drained)

    def dataReceived(self, data: bytes) -> None:
        """Decrypt; `inner` gets the content."""
        self._incoming.write(data)
        if self._verified or self._shake_hands():
            self._deliver(len(data))

    # What `inner` uses of a transport.

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        self._tls.write(data)
        self._wire.write(self._outgoing.read())

    def loseConnection(self) -> None:
        """Say goodbye and close."""
        self._close()

    def abortConnection(self) -> None:
        """Reset."""
        self._is_over = True
        self._wire.abort()

    def pauseProducing(self) -> None:
        """Stop reading from the network."""
        cast("Any", self.transport).pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        cast("Any", self.transport).resumeProducing()

    def getPeer(self) -> IAddress:
        """The address of the other side."""
        return cast("IAddress", cast("Any", self.transport).getPeer())

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Already set for the connection underneath."""

    # What is told to a subclass.

    def _greeted(self) -> None:
        """The peer is verified."""
        raise NotImplementedError

    def _fail(self, why: str) -> None:
        """It will never be."""
        raise NotImplementedError

    def _drained(self) -> None:
        """Everything that waited in this process has been sent."""

    def _shake_hands(self) -> bool:
        """True once the peer is verified."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush()
            self._fail(f"TLS handshake failed: {describe(error)}")
            return False
        self._flush()
        self._verified = True
        self._greeted()
        return True

    def _deliver(self, size: int) -> None:
        """Give `inner` what can be decrypted; `size` bytes have arrived.

        With nothing left in either buffer a read would only raise, which costs more
        than asking.
        """
        incoming, tls = self._incoming, self._tls
        while (incoming.pending or tls.pending()) and not self._is_over:
            try:
                content = tls.read(size)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLError as error:
                self._break(error)
                return
            if not content:  # close_notify
                self._end = ConnectionDone()
                self._close()
                return
            self._inner.dataReceived(content)

    def _break(self, error: ssl.SSLError) -> None:
        why = describe(error)
        self._end = AlertReceived(why) if "alert" in why else ConnectionLost(why)
        self.abortConnection()

    def _close(self) -> None:
        self._is_over = True
        self._say_goodbye()
        self._wire.close()

    def _say_goodbye(self) -> None:
        # Its state may be any, and nobody waits for its own goodbye.
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()

    def _flush(self) -> None:
        """Send what OpenSSL has to say beside our data."""
        records = self._outgoing.read()
        if records:
            self._wire.write(records)


class TlsClient(TlsConnection):
    """The client's side: `inner` learns of the connection once the server is verified.

    Until then every end is told to `failed`, and `inner` never hears of it. A resumed
    `session` counts as verified, so it must be of the same server name.
    """

    def __init__(
        self,
        inner: Protocol,
        context: ssl.SSLContext,
        name: str,
        *,
        session: ssl.SSLSession | None,
        failed: Callable[[UpstreamError], None],
    ) -> None:
        super().__init__(inner, context, name=name, session=session)
        self._failed = failed

    def connectionMade(self) -> None:
        """TCP is up: greet."""
        super().connectionMade()
        self._shake_hands()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Without a close_notify the end may be forged, so it counts as a loss."""
        if self._verified:
            self._inner.connectionLost(_failure(self._end or ConnectionLost()))
        else:
            self._fail(f"connection closed during the TLS handshake: {reason.value}")
        self._wire.closed = True

    @property
    def context(self) -> ssl.SSLContext:
        """What it was made with; a session fits no other."""
        return self._tls.context

    @property
    def session(self) -> ssl.SSLSession | None:
        """What a next connection can resume."""
        return self._tls.session

    def _greeted(self) -> None:
        cast("Any", self._inner).makeConnection(self)

    def _fail(self, why: str) -> None:
        self.abortConnection()
        self._failed(UpstreamError(why, status=503))
