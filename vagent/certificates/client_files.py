"""The client's PEM files of mutual TLS: read for a connection when they have changed.

New connections use a new context then; those that are open keep theirs. Files that
cannot be used are reported once for each change, and no connection is opened until they
can; requests wait meanwhile, so guests do not notice when a certificate and its key are
replaced one after the other.
"""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path

from vagent.certificates.events import TlsFilesLoaded, TlsFilesRefused
from vagent.config.model import ClientTls
from vagent.errors import UpstreamError
from vagent.observe.event import Emit
from vagent.transport.tls import TlsClient
from vagent.transport.tls_context import (
    State,
    blaming,
    no_password,
    state_of,
    strict_context,
)


def build_context(files: ClientTls) -> tuple[ssl.SSLContext, str, datetime]:
    """The context, and subject and end of validity of the client certificate.

    Raises UpstreamError (503), which names the file at fault.
    """
    # Imported late: it costs 7 MiB, which an agent without TLS saves.
    from cryptography.x509 import load_pem_x509_certificates

    context = strict_context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = True
    context.hostname_checks_common_name = False  # RFC 9525 §2
    with blaming(files.ca_cert, _fault):
        context.load_verify_locations(files.ca_cert)
    with blaming(files.client_cert, _fault):
        certificate = load_pem_x509_certificates(files.client_cert.read_bytes())[0]
    with blaming(files.client_key, _fault):
        context.load_cert_chain(
            files.client_cert, files.client_key, password=no_password
        )
    until = certificate.not_valid_after_utc
    return context, certificate.subject.rfc4514_string(), until


def _fault(path: Path, why: str) -> UpstreamError:
    return UpstreamError(f"{path}: {why}", status=503)


class TlsFiles:
    """The current context of a set of files, and the TLS sessions made with it.

    `shown` is the client certificate in words: file, subject, end of validity; "" until
    it was read.
    """

    def __init__(self, files: ClientTls, emit: Emit) -> None:
        self._files = files
        self._emit = emit
        self._state: State | None = None
        self._context: ssl.SSLContext | None = None
        self._problem = ""
        self._sessions: dict[tuple[str, str], ssl.SSLSession] = {}
        self.shown = ""

    def context(self) -> ssl.SSLContext:
        """The context of the files as they are now. Raises UpstreamError (503)."""
        try:
            state = self._look()
        except OSError as error:
            self._refuse((), f"{error.filename}: {error.strerror}")
            raise UpstreamError(self._problem, status=503) from error
        if state != self._state:
            self._load(state)
        if self._context is None:
            raise UpstreamError(self._problem, status=503)
        return self._context

    def session(self, server: tuple[str, str]) -> ssl.SSLSession | None:
        """A session to resume with this server, which is its address, and the name that
        its certificate was verified for.
        """
        return self._sessions.get(server)

    def keep_session(self, server: tuple[str, str], connection: TlsClient) -> None:
        """Remember the connection's session, unless the files have changed since."""
        session = connection.session
        if session is not None and connection.context is self._context:
            self._sessions[server] = session

    def _look(self) -> State:
        files = self._files
        return state_of((files.client_cert, files.client_key, files.ca_cert))

    def _load(self, state: State) -> None:
        self._sessions.clear()
        try:
            context, subject, until = build_context(self._files)
        except UpstreamError as error:
            self._refuse(state, str(error))
            return
        self._state, self._context = state, context
        path = self._files.client_cert
        self.shown = f"{path}, {subject}, valid until {until:%Y-%m-%d %H:%M} UTC"
        self._emit(TlsFilesLoaded(subject, until))

    def _refuse(self, state: State, problem: str) -> None:
        is_news = self._state != state or problem != self._problem
        self._state, self._context, self._problem = state, None, problem
        self._sessions.clear()
        if is_news:
            self._emit(TlsFilesRefused(problem))
