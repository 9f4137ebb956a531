"""Mutual TLS on memory BIOs, with Python's own `ssl`: both sides, and the client.

Twisted's TLS collects writes until a timer fires, and costs more CPU than the rest of a
request. The context demands a valid chain and name within the handshake, and a client's
inner protocol learns of the connection only after it, so nothing can be written to a
server that is not verified. `vagent.nova.tls` has the server's side.
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
from vagent.transport.wire import READ_SIZE, Wire, has_unread

_failure: Callable[[Exception], Failure] = Failure


class AlertReceived(ConnectionLost):
    """The peer ended the connection with a TLS alert, e.g. for our certificate.

    Its text is the alert in OpenSSL's words.
    """

    def __str__(self) -> str:
        return str(self.args[0])


class TlsConnection(Protocol):
    """TLS on one TCP connection; it is the transport of the protocol `inner`.

    With a `name` it is the client's side, and `name` is the server's. A subclass
    defines what follows when the handshake succeeds (`_greeted`) or fails (`_fail`).
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
        self._is_partial = False
        self._end: Exception | None = None

    def connectionMade(self) -> None:
        """TCP is up."""
        transport = cast("Any", self.transport)
        transport.setTcpNoDelay(True)
        transport.bufferSize = READ_SIZE
        self._wire = Wire(transport, self._drained)

    def dataReceived(self, data: bytes) -> None:
        """Decrypt, and pass the content to `inner`."""
        self._incoming.write(data)
        if self._verified or self._shake_hands():
            self._deliver(len(data))

    # The methods of a transport that `inner` calls.

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        self._tls.write(data)
        self._wire.write(self._outgoing.read())

    def loseConnection(self) -> None:
        """Send close_notify and close."""
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

    def has_unread(self) -> bool:
        """Has anything arrived that `inner` was not given, be it part of a record?"""
        return (
            self._is_partial
            or bool(self._incoming.pending or self._tls.pending())
            or has_unread(self.transport)
        )

    def setTcpNoDelay(self, enabled: bool) -> None:
        """It is set for the TCP connection already."""

    # What a subclass defines.

    def _greeted(self) -> None:
        """The handshake is complete and the peer verified."""
        raise NotImplementedError

    def _fail(self, why: str) -> None:
        """The handshake failed, or the connection ended before it was complete."""
        raise NotImplementedError

    def _drained(self) -> None:
        """The kernel has taken everything that was written."""

    def _shake_hands(self) -> bool:
        """Go on with the handshake; True once the peer is verified."""
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
        """Pass to `inner` what can be decrypted; `size` bytes have arrived.

        A read with nothing left in either buffer would only raise, which costs more
        than to ask first.
        """
        incoming, tls = self._incoming, self._tls
        while (incoming.pending or tls.pending()) and not self._is_over:
            try:
                content = tls.read(size)
            except ssl.SSLWantReadError:
                # OpenSSL keeps the beginning of a record; `pending` does not count it.
                self._is_partial = True
                return
            except ssl.SSLError as error:
                self._break(error)
                return
            if not content:  # close_notify
                self._end = ConnectionDone()
                self._close()
                return
            self._is_partial = False
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
        # The connection may be in any state; the peer's close_notify is not awaited.
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()

    def _flush(self) -> None:
        """Send the records that OpenSSL has made by itself (handshake, alerts)."""
        records = self._outgoing.read()
        if records:
            self._wire.write(records)


class TlsClient(TlsConnection):
    """The client's side: `inner` learns of the connection once the server is verified.

    If the connection ends before, only `failed` is called. The server of a resumed
    `session` counts as verified, so the session must be one with the same server name.
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
        """TCP is up: begin the handshake."""
        super().connectionMade()
        self._shake_hands()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """An end without close_notify may be forged, so it counts as a loss."""
        if self._verified:
            self._inner.connectionLost(_failure(self._end or ConnectionLost()))
        else:
            self._fail(f"connection closed during the TLS handshake: {reason.value}")
        self._wire.closed = True

    @property
    def context(self) -> ssl.SSLContext:
        """The context; sessions belong to it."""
        return self._tls.context

    @property
    def session(self) -> ssl.SSLSession | None:
        """The session that a later connection can resume."""
        return self._tls.session

    def _greeted(self) -> None:
        cast("Any", self._inner).makeConnection(self)

    def _fail(self, why: str) -> None:
        self.abortConnection()
        self._failed(UpstreamError(why, status=503))
