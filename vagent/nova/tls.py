"""TLS of the metadata server: its own certificate, and a client certificate demanded.

Files are looked at for every connection (three `stat` calls) and read again when one
has changed, so that certificates are renewed without a restart. A changed set that
cannot be used is reported once and the old one stays. Refuses to know HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer

from vagent.config.model import MetadataServerConfig
from vagent.errors import ConfigError, Problem
from vagent.nova.events import NovaTlsReloaded
from vagent.observe.event import Emit

if TYPE_CHECKING:  # loaded late, with the first context: 9 MiB
    from OpenSSL import SSL

# RFC 9325 §4.2: forward secrecy and authenticated encryption only (for TLS 1.2;
# TLS 1.3 has nothing else).
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"

_SESSION_CONTEXT = b"vagent-metadata"

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class PemFiles:
    """The three files of `<metadata-server>`."""

    certificate: Path
    key: Path
    client_ca: Path

    def stamp(self) -> Stamp:
        """Changes when any of the files does. Raises OSError."""
        found = [path.stat() for path in (self.certificate, self.key, self.client_ca)]
        return tuple((s.st_ino, s.st_mtime_ns, s.st_size) for s in found)


@implementer(IOpenSSLContextFactory)
class ServerContexts:
    """Hands a context to each new connection. `getContext` is Twisted's name."""

    def __init__(self, files: PemFiles, emit: Emit) -> None:
        self._files = files
        self._emit = emit
        self._stamp: Stamp | None = _stamp(files)
        self._context = _context(files)

    def getContext(self) -> SSL.Context:
        """The context of the files as they are now, or were when last usable."""
        stamp = _stamp(self._files)
        if stamp != self._stamp:
            self._stamp = stamp
            self._reload()
        return self._context

    def _reload(self) -> None:
        try:
            self._context = _context(self._files)
        except ConfigError as error:
            self._emit(NovaTlsReloaded(why=str(error)))
        else:
            self._emit(NovaTlsReloaded())


def server_tls_context(
    config: MetadataServerConfig, emit: Emit
) -> ServerContexts | None:
    """The contexts of its connections; None where none of the three files is
    configured, which is for a loopback address only. Raises ConfigError when the files
    cannot be used, or are not all there.
    """
    paths = (config.server_cert, config.server_key, config.client_ca)
    certificate, key, client_ca = paths
    if certificate and key and client_ca:
        return ServerContexts(PemFiles(certificate, key, client_ca), emit)
    if any(paths):
        raise _fault(
            "", "", "TLS needs server-cert, server-key and client-ca, all three"
        )
    if not config.listen.address.is_loopback:
        raise _fault(
            "",
            "/listen",
            f"{config.listen.address} without TLS; allowed is a loopback address",
        )
    return None


def _stamp(files: PemFiles) -> Stamp | None:
    try:
        return files.stamp()
    except OSError:
        return None


def _context(files: PemFiles) -> SSL.Context:
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_cipher_list(CIPHERS)
    context.set_session_id(_SESSION_CONTEXT)
    steps = (
        (files.certificate, "server-cert", context.use_certificate_chain_file),
        (files.key, "server-key", partial(_use_key, context)),
        (files.client_ca, "client-ca", partial(_trust, context)),
    )
    for path, name, load in steps:
        try:
            path.open("rb").close()  # OpenSSL would not say what is wrong with it
            load(str(path))
        except (SSL.Error, OSError) as error:
            raise _fault(str(path), f"/{name}", _why(error)) from None
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    return context


def _use_key(context: SSL.Context, path: str) -> None:
    context.use_privatekey_file(path)
    context.check_privatekey()


def _trust(context: SSL.Context, path: str) -> None:
    context.load_verify_locations(path)
    context.load_client_ca(path.encode())


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    reasons = [str(part[-1]) for part in error.args[0]] if error.args else []
    return f"OpenSSL cannot use it: {', '.join(filter(None, reasons)) or 'no reason'}"


def _fault(file: str, path: str, what: str) -> ConfigError:
    return ConfigError((Problem(file or "-", 0, f"metadata-server{path}", what),))
