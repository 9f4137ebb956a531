"""The PEM files of the metadata server, and the TLS context made of them.

For every connection the files are checked (three `stat` calls), and read again when one
has changed, so certificates are renewed without a restart. A changed set that cannot be
used is reported once, and the old context stays in use.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vagent.config.model import MetadataServerConfig
from vagent.errors import ConfigError, Problem
from vagent.nova.events import NovaTlsReloaded
from vagent.observe.event import Emit
from vagent.transport.tls_context import (
    State,
    blaming,
    no_password,
    state_of,
    strict_context,
)

# RFC 9325 §4.2: forward secrecy and authenticated encryption only (for TLS 1.2;
# TLS 1.3 has nothing else).
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

PROTOCOL = "http/1.1"
"""The only protocol that ALPN negotiates, even where HTTP/2 is installed."""


@dataclass(frozen=True, slots=True)
class PemFiles:
    """The three files of `<metadata-server>`."""

    certificate: Path
    key: Path
    client_ca: Path

    def state(self) -> State | None:
        """Changes when any of the files does; None while one is missing."""
        try:
            return state_of((self.certificate, self.key, self.client_ca))
        except OSError:
            return None


class ServerContexts:
    """Gives each new connection its context."""

    def __init__(self, files: PemFiles, emit: Emit) -> None:
        self._files = files
        self._emit = emit
        self._state = files.state()
        self._context = _context(files)

    def context(self) -> ssl.SSLContext:
        """The context of the files as they are now, or were when last usable."""
        state = self._files.state()
        if state != self._state:
            self._state = state
            self._reload()
        return self._context

    def _reload(self) -> None:
        try:
            self._context = _context(self._files)
        except ConfigError as error:
            self._emit(NovaTlsReloaded(str(error)))
        else:
            self._emit(NovaTlsReloaded())


def server_contexts(config: MetadataServerConfig, emit: Emit) -> ServerContexts | None:
    """The contexts; None where none of the three files is configured, which is allowed
    on a loopback address only. Raises ConfigError when the files cannot be used, or not
    all three are configured.
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


def _context(files: PemFiles) -> ssl.SSLContext:
    context = strict_context(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols([PROTOCOL])
    with blaming(files.certificate, partial(_file_fault, "server-cert")):
        # `load_cert_chain` does not say whether certificate or key is wrong.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(files.certificate)
    with blaming(files.key, partial(_file_fault, "server-key")):
        context.load_cert_chain(files.certificate, files.key, password=no_password)
    with blaming(files.client_ca, partial(_file_fault, "client-ca")):
        context.load_verify_locations(files.client_ca)
    return context


def _file_fault(element: str, path: Path, why: str) -> ConfigError:
    return _fault(str(path), f"/{element}", why)


def _fault(file: str, path: str, what: str) -> ConfigError:
    return ConfigError((Problem(file or "-", 0, f"metadata-server{path}", what),))
