"""The question on the wire: one connection, one request, one answer."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

from vagent.config.model import ClientTls
from vagent.ctl.asking.question import AskedEndpoint, AskedQuestion
from vagent.errors import VagentError

MAX_BODY = 16 * 1024 * 1024
"""Bytes of an answer that are read. Nova's largest document is below 1 MiB."""


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """What came back. `body` is cut at MAX_BODY."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)


def exchange(
    endpoint: AskedEndpoint,
    question: AskedQuestion,
    *,
    tls: ClientTls | None,
    timeout: float,
) -> GivenAnswer:
    """Ask, and read the answer. Raises VagentError, which says how far it came.

    `tls` are the files of mutual TLS; without them a server is verified by the system's
    authorities. `timeout` is in seconds, for each step.
    """
    try:
        connection = _connect(endpoint, tls, timeout)
    except ssl.SSLError as error:
        raise VagentError(f"{endpoint.url}: {_tls_fault(error, tls)}") from error
    except OSError as error:
        raise VagentError(f"{endpoint.url}: no connection: {_words(error)}") from error
    try:
        connection.putrequest("GET", question.path, skip_accept_encoding=True)
        for name, value in (*question.headers(), ("Accept", "*/*")):
            connection.putheader(name, value)
        connection.putheader("Connection", "close")
        _send(connection)
        reply = connection.getresponse()
        body = reply.read(MAX_BODY)
        headers = tuple(reply.getheaders())
        return GivenAnswer(reply.status, reply.reason, headers, body)
    except ssl.SSLError as error:  # TLS 1.3: the server judges certificates afterwards
        raise VagentError(f"{endpoint.url}: {_tls_fault(error, tls)}") from error
    except (OSError, HTTPException) as error:
        # A server with TLS hangs up, or answers with an alert, which is not HTTP.
        is_unclear = isinstance(error, HTTPException | ConnectionError)
        hint = f"; {endpoint.tls_hint}" if is_unclear and not endpoint.tls else ""
        raise VagentError(
            f"{endpoint.url}: no answer: {_words(error)}{hint}"
        ) from error
    finally:
        connection.close()


def _send(connection: HTTPConnection) -> None:
    """A server that refuses our certificate may have hung up already; its alert, which
    says why, is then there to be read all the same.
    """
    try:
        connection.endheaders()
    except (ssl.SSLEOFError, ConnectionError):
        if isinstance(connection.sock, ssl.SSLSocket):
            connection.sock.recv(1)
        raise


def _connect(
    endpoint: AskedEndpoint, tls: ClientTls | None, timeout: float
) -> HTTPConnection:
    wanted = endpoint.name or endpoint.host
    connection = HTTPConnection(wanted, endpoint.port, timeout=timeout)
    address = (endpoint.host, endpoint.port)
    context = _context(endpoint, tls) if endpoint.tls else None
    plain = socket.create_connection(address, timeout)
    try:
        connection.sock = (
            context.wrap_socket(plain, server_hostname=wanted) if context else plain
        )
    except BaseException:
        plain.close()
        raise
    return connection


def _context(endpoint: AskedEndpoint, tls: ClientTls | None) -> ssl.SSLContext:
    if tls is None:
        return ssl.create_default_context()
    # Imported late: with them comes Twisted, which no other question needs.
    from vagent.certificates.client_files import build_context
    from vagent.certificates.per_endpoint import files_of

    return build_context(files_of(tls, endpoint.host, endpoint.name))[0]


def _tls_fault(error: ssl.SSLError, tls: ClientTls | None) -> str:
    from vagent.metadata.upstream.tls_alert import in_words
    from vagent.transport.tls_context import describe

    shown = "" if tls is None else str(tls.client_cert)
    if isinstance(error, ssl.SSLCertVerificationError):
        by = "the system's authorities" if tls is None else f"{tls.ca_cert}"
        return f"the server's certificate is refused by {by}: {describe(error)}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "no answer: the server ended the connection"
    return in_words(describe(error), shown)


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
