"""The client's PEM files: what cannot be used is said, and what changed is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from lab.pki import Authority, KeyPair
from vagent.certificates.client_files import TlsFiles, build_context
from vagent.certificates.events import TlsFilesLoaded, TlsFilesRefused
from vagent.config.model import ClientTls
from vagent.errors import UpstreamError
from vagent.observe.event import Event


@dataclass(slots=True)
class Pki:
    """A server and a client of one CA."""

    server: KeyPair
    files: ClientTls


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    ca = Authority(tmp_path_factory.mktemp("ca"))
    client = ca.client("client")
    return Pki(ca.server("server"), ClientTls(client.cert, client.key, ca.cert))


@pytest.mark.parametrize("role", ["client_cert", "client_key", "ca_cert"])
def test_unusable_file_is_named(pki: Pki, tmp_path: Path, role: str) -> None:
    """Nothing can be made of it, and the error says which one it is."""
    bad = tmp_path / role
    bad.write_text("no PEM")
    with pytest.raises(UpstreamError, match=str(bad)):
        build_context(replace(pki.files, **{role: bad}))


def test_key_of_another_certificate_is_refused(pki: Pki) -> None:
    """It would be found out in the handshake otherwise."""
    with pytest.raises(UpstreamError, match="key values mismatch"):
        build_context(replace(pki.files, client_key=pki.server.key))


def test_key_with_a_password_is_refused(pki: Pki, tmp_path: Path) -> None:
    """Nobody is asked for it."""
    key = serialization.load_pem_private_key(pki.files.client_key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    with pytest.raises(UpstreamError, match=str(locked)):
        build_context(replace(pki.files, client_key=locked))


def test_files_are_read_again_when_they_change(pki: Pki, tmp_path: Path) -> None:
    """A changed set makes a new context; one that cannot be used is reported once, and
    there is no context until it can.
    """
    ours = tmp_path / "client.crt"
    good = pki.files.client_cert.read_bytes()
    ours.write_bytes(good)
    events: list[Event] = []
    files = TlsFiles(replace(pki.files, client_cert=ours), emit=events.append)
    assert "" == files.shown
    first = files.context()
    assert first is files.context()
    assert files.shown.startswith(f"{ours}, CN=client, valid until 20")
    ours.write_bytes(good + b"\n")
    assert first is not files.context()
    ours.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(UpstreamError, match=str(ours)):
            files.context()
    ours.unlink()
    with pytest.raises(UpstreamError, match="No such file"):
        files.context()
    ours.write_bytes(good)
    files.context()
    kinds = [TlsFilesLoaded] * 2 + [TlsFilesRefused] * 2 + [TlsFilesLoaded]
    assert kinds == [type(event) for event in events]
