"""The PEM files of mutual TLS: read when used, read again when they changed.

A changed file makes a new context for new connections; live ones keep theirs. Files
that cannot be used are reported once for each change, and nothing connects meanwhile:
requests are held, so a certificate replaced file by file is not noticed by guests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL

from vagent.config.model import ClientTls
from vagent.errors import UpstreamError
from vagent.metadata.events import TlsFilesLoaded, TlsFilesRefused
from vagent.metadata.tls import describe
from vagent.observe.event import Emit

_RELEASE_BUFFERS = 0x10
"""SSL_MODE_RELEASE_BUFFERS: an idle connection gives back some 34 KiB."""

_State = tuple[tuple[int, int, int], ...]


def build_context(files: ClientTls) -> tuple[SSL.Context, str, str]:
    """Context, subject, end of validity. Raises UpstreamError (503) naming the file."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    context.set_mode(_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_verify(SSL.VERIFY_PEER, None)
    with _blame(files.ca_cert):
        context.load_verify_locations(str(files.ca_cert))
    with _blame(files.client_cert):
        chain = load_pem_x509_certificates(files.client_cert.read_bytes())
        context.use_certificate(chain[0])
        for certificate in chain[1:]:
            context.add_extra_chain_cert(certificate)
    with _blame(files.client_key):
        key = load_pem_private_key(files.client_key.read_bytes(), None)
        context.use_privatekey(cast("Any", key))  # any kind of key that PEM can hold
        context.check_privatekey()
    expires = chain[0].not_valid_after_utc.isoformat()
    return context, chain[0].subject.rfc4514_string(), expires


@contextmanager
def _blame(path: Path) -> Iterator[None]:
    try:
        yield
    except SSL.Error as error:
        raise UpstreamError(f"{path}: {describe(error)}", status=503) from error
    # TypeError is a key that needs a password.
    except (OSError, TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise UpstreamError(
            f"{path}: cannot be used: {type(error).__name__}", status=503
        ) from error


class TlsFiles:
    """Hands out the current context and the sessions that belong to it."""

    def __init__(self, files: ClientTls, emit: Emit) -> None:
        self._files = files
        self._emit = emit
        self._state: _State | None = None
        self._context: SSL.Context | None = None
        self._problem = ""
        self._sessions: dict[str, SSL.Session] = {}

    def context(self) -> SSL.Context:
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

    def session(self, name: str) -> SSL.Session | None:
        """A session that may be resumed with this server."""
        return self._sessions.get(name)

    def keep_session(self, name: str, session: SSL.Session | None) -> None:
        """Remember a session of a connection that was made with the current context."""
        if session is not None and self._context is not None:
            self._sessions[name] = session

    def _look(self) -> _State:
        return tuple(
            _identity_of(path)
            for path in (
                self._files.client_cert,
                self._files.client_key,
                self._files.ca_cert,
            )
        )

    def _load(self, state: _State) -> None:
        self._sessions.clear()
        try:
            context, subject, expires = build_context(self._files)
        except UpstreamError as error:
            self._refuse(state, str(error))
            return
        self._state, self._context = state, context
        self._emit(TlsFilesLoaded(subject, expires))

    def _refuse(self, state: _State, problem: str) -> None:
        is_news = self._state != state or problem != self._problem
        self._state, self._context, self._problem = state, None, problem
        self._sessions.clear()
        if is_news:
            self._emit(TlsFilesRefused(problem))


def _identity_of(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino
