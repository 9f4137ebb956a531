"""TLS towards one target: which authorities count, and which certificate is shown.

Files of the target's own folder below `<target-tls>` go before those for all targets.
They are looked at for each call and read again when one has changed. A set that cannot
be used fails the call: nothing is sent to a target that is not verified.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from vagent.config.model import VendorDataConfig
from vagent.nova.vendordata.answer import TargetError
from vagent.transport.tls_context import (
    State,
    blaming,
    no_password,
    state_of,
    strict_context,
)

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of targets that can be the name of a folder."""


@dataclass(frozen=True, slots=True)
class Files:
    """PEM files. Without `ca` the authorities of the system count."""

    ca: Path | None
    certificate: Path | None
    key: Path | None

    def state(self) -> State:
        """Changes when any of the files does. Raises OSError."""
        paths = (self.ca, self.certificate, self.key)
        return state_of([path for path in paths if path is not None])


class TlsContexts:
    """Contexts by their files, for all targets: to read the authorities of the system
    takes 15 ms, and ten targets would read them one after another.
    """

    def __init__(self) -> None:
        self._made: dict[Files, tuple[State, ssl.SSLContext]] = {}

    def of(self, files: Files) -> ssl.SSLContext:
        """The context of the files as they are now. Raises TargetError."""
        try:
            state = files.state()
        except OSError as error:
            raise _fault(Path(str(error.filename)), str(error.strerror)) from error
        made = self._made.get(files)
        if made is not None and made[0] == state:
            return made[1]
        context = build_context(files)
        self._made[files] = state, context
        return context


class TargetTls:
    """Hands a context to each call of one target."""

    def __init__(
        self, config: VendorDataConfig, name: str, contexts: TlsContexts
    ) -> None:
        self._config = config
        self._name = name
        self._contexts = contexts

    def context(self) -> ssl.SSLContext:
        """The context of the files as they are now. Raises TargetError."""
        return self._contexts.of(self._files())

    def _files(self) -> Files:
        config = self._config
        if config.target_tls is not None and _FOLDER.fullmatch(self._name):
            folder = config.target_tls / self._name
            if folder.is_dir():
                return _files_in(folder)
        return Files(config.ca_cert, config.client_cert, config.client_key)


def _files_in(folder: Path) -> Files:
    """Those of the folder that are there; a certificate needs its key."""
    ca, certificate, key = (
        folder / name for name in ("ca-cert.pem", "client-cert.pem", "client-key.pem")
    )
    shows = certificate.exists() or key.exists()
    return Files(
        ca if ca.exists() else None,
        certificate if shows else None,
        key if shows else None,
    )


def build_context(files: Files) -> ssl.SSLContext:
    """Verifies chain and name of the server. Raises TargetError naming the file."""
    context = strict_context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = True
    context.hostname_checks_common_name = False  # RFC 9525 §2
    if files.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        with blaming(files.ca, _fault):
            context.load_verify_locations(files.ca)
    if files.certificate is not None and files.key is not None:
        with blaming(files.certificate, _fault):
            # With the key it is loaded in one call that does not say which is wrong.
            strict_context(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
                files.certificate
            )
        with blaming(files.key, _fault):
            context.load_cert_chain(files.certificate, files.key, password=no_password)
    return context


def _fault(path: Path, why: str) -> TargetError:
    return TargetError("tls", f"{path}: {why}")
