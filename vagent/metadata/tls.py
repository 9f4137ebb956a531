"""Mutual TLS towards an upstream, on memory BIOs, with pyOpenSSL.

Twisted's own TLS layer aggregates writes on a timer and costs more than the rest of a
request; a client that only ever wraps one connection needs less. The order is fixed
here: chain and name are verified before the inner protocol learns of the connection,
so nothing can be written to a server that is not verified.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from vagent.errors import UpstreamError
from vagent.metadata.target import HostPort
from vagent.metadata.wire import Wire

_OVERHEAD = 1024
"""More than one TLS record adds; what does not fit takes another turn of the loop.

Buffers are asked for by the size of the data: 64 KiB each time costs 5 µs a request.
"""

_APPLICATION_DATA = 23
_RECORD_HEADER = 5


_failure: Callable[[Exception], Failure] = Failure


class AlertReceived(ConnectionLost):
    """The server ended the connection with a TLS alert, e.g. for our certificate."""


def name_problem(connection: SSL.Connection, name: str) -> str | None:
    """None if the peer's certificate is for this DNS name or address, else why not."""
    try:
        if HostPort(name, 0).is_address:
            verify_ip_address(connection, name)
        else:
            verify_hostname(connection, name)
    except (VerificationError, CertificateError) as error:
        return f"certificate is not for {name}: {type(error).__name__}"
    return None


def describe(error: SSL.Error) -> str:
    """OpenSSL's reasons on one line, without its call stack."""
    entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = [entry[2] for entry in entries if entry[2]]
    return ", ".join(reasons) or "TLS failed"


def _is_one_record(data: bytes) -> bool:
    """Exactly one TLS record, so that nothing is left after one read (RFC 8446 §5.1).

    Asking OpenSSL for more instead costs an exception, 2 µs a request.
    """
    return (
        len(data) > _RECORD_HEADER
        and data[0] == _APPLICATION_DATA
        and _RECORD_HEADER + (data[3] << 8 | data[4]) == len(data)
    )


class TlsClient(Protocol):
    """Wraps one TCP connection; is the transport of `inner` once the peer is verified.

    Until then every end is told to `failed`, and `inner` never hears of it.
    """

    def __init__(
        self,
        inner: Protocol,
        context: SSL.Context,
        name: str,
        *,
        session: SSL.Session | None,
        failed: Callable[[UpstreamError], None],
    ) -> None:
        self._inner = inner
        self._name = name
        self._tls = SSL.Connection(context, None)
        self._tls.set_connect_state()
        if not HostPort(name, 0).is_address:
            self._tls.set_tlsext_host_name(name.encode("idna"))
        if session is not None:
            self._tls.set_session(session)
        self._verified = False
        self._may_hold_more = False
        self._end: Exception | None = None
        self._failed = failed

    def connectionMade(self) -> None:
        """TCP is up: greet."""
        transport = cast("Any", self.transport)
        transport.setTcpNoDelay(True)
        self._wire = Wire(transport)
        self._shake_hands()

    def dataReceived(self, data: bytes) -> None:
        """Decrypt; `inner` gets the content."""
        self._tls.bio_write(data)
        if not self._verified:
            self._may_hold_more = True
            if self._shake_hands():
                self._deliver(data)
        elif self._may_hold_more or not _is_one_record(data):
            self._may_hold_more = True
            self._deliver(data)
        else:
            self._receive(len(data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Without a close_notify the end may be forged, so it counts as a loss."""
        if self._verified:
            self._inner.connectionLost(_failure(self._end or ConnectionLost()))
        else:
            self._fail(f"connection closed during the TLS handshake: {reason.value}")
        self._wire.closed = True

    def session(self) -> SSL.Session | None:
        """What a next connection can resume."""
        return self._tls.get_session()

    # What `inner` uses of a transport.

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        sent = self._tls.send(data)
        self._flush(sent + _OVERHEAD)
        if sent < len(data):
            self.write(data[sent:])

    def loseConnection(self) -> None:
        """Say goodbye and close."""
        try:
            self._tls.shutdown()
            self._flush()
        except SSL.Error:
            pass  # the peer may have closed in any state; TCP is closed all the same
        self._wire.close()

    def abortConnection(self) -> None:
        """Reset."""
        self._wire.abort()

    def pauseProducing(self) -> None:
        """Stop reading from the network."""
        cast("Any", self.transport).pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        cast("Any", self.transport).resumeProducing()

    def getPeer(self) -> IAddress:
        """The upstream's address."""
        return cast("IAddress", cast("Any", self.transport).getPeer())

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Already set for the connection underneath."""

    def _shake_hands(self) -> bool:
        """True once the peer is verified."""
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return False
        except SSL.Error as error:
            self._flush()
            self._fail(f"TLS handshake failed: {describe(error)}")
            return False
        problem = name_problem(self._tls, self._name)
        if problem is not None:
            self._fail(problem)
            return False
        self._flush()
        self._verified = True
        cast("Any", self._inner).makeConnection(self)
        return True

    def _deliver(self, data: bytes) -> None:
        size = max(len(data), _OVERHEAD)
        while not self._wire.closed and self._receive(size):
            pass

    def _receive(self, size: int) -> bool:
        """Decrypt once; False when no whole record is left."""
        try:
            content = self._tls.recv(size)
        except SSL.WantReadError:
            self._may_hold_more = False
            return False
        except SSL.ZeroReturnError:
            self._end = ConnectionDone()
            self.loseConnection()
            return False
        except SSL.Error as error:
            why = describe(error)
            self._end = AlertReceived(why) if "alert" in why else ConnectionLost(why)
            self._wire.abort()
            return False
        self._inner.dataReceived(content)
        return True

    def _flush(self, size: int = 8 * _OVERHEAD) -> None:
        """Send what OpenSSL has made of about `size` bytes of ours."""
        while True:
            try:
                records = self._tls.bio_read(size)
            except SSL.WantReadError:
                return
            self._wire.write(records)
            if len(records) < size:
                return

    def _fail(self, why: str) -> None:
        self._wire.abort()
        self._failed(UpstreamError(why, status=503))
