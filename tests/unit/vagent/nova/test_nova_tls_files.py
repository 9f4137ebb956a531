"""Contexts of the metadata server: files are named when unusable, and renewed."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from tests.unit.vagent.nova.tls_caller import GET, Caller, Pki
from vagent.config.model import Listen, MetadataServerConfig
from vagent.errors import ConfigError
from vagent.nova.events import NovaTlsReloaded
from vagent.nova.tls_files import ServerContexts, server_contexts
from vagent.observe.event import Event


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki.made_in(tmp_path)


def serial_seen(contexts: ServerContexts, pki: Pki) -> int:
    """What a client sees of the server's certificate, when it is served."""
    caller = Caller(contexts, pki.ca.cert, pki.client)
    caller.say(GET)
    assert caller.reply.startswith(b"HTTP/1.1 200 OK")
    certificate = caller.tls.get_peer_certificate()
    assert certificate is not None
    return certificate.get_serial_number()


def test_new_certificate_is_taken_without_restart(pki: Pki) -> None:
    """When the files change the next connection gets the new certificate."""
    events: list[Event] = []
    contexts = pki.contexts(events)
    before = serial_seen(contexts, pki)
    pki.ca.server("server", "nova.example")
    assert before != serial_seen(contexts, pki)
    assert [NovaTlsReloaded()] == events
    assert events[0].label() == "done"
    assert contexts.context() is contexts.context()


def test_unusable_renewal_keeps_the_old_one(pki: Pki) -> None:
    """Broken files are reported once, and the server goes on with what it has."""
    events: list[Event] = []
    contexts = pki.contexts(events)
    assert pki.config.server_key is not None
    pki.config.server_key.write_text("nonsense")
    for _ in range(2):
        assert serial_seen(contexts, pki)
    (event,) = events
    assert event.label() == "failed"
    assert "server-key: OpenSSL cannot use it" in event.text()
    assert "nonsense" not in event.text()
    pki.config.server_key.unlink()
    assert serial_seen(contexts, pki)
    assert "No such file" in events[1].text()


@pytest.mark.parametrize("name", ["server_cert", "server_key", "client_ca"])
def test_unusable_files_are_named(pki: Pki, name: str, tmp_path: Path) -> None:
    """A missing or broken file is a configuration error that names file and element."""
    broken = tmp_path / "broken.pem"
    broken.write_text("nonsense")
    element = name.replace("_", "-")
    for path in (broken, tmp_path / "absent.pem"):
        changes: dict[str, Any] = {name: path}
        config = replace(pki.config, **changes)
        with pytest.raises(ConfigError) as refusal:
            server_contexts(config, lambda _event: None)
        assert f"{path}:0: metadata-server/{element}: " in str(refusal.value)


def test_key_of_another_certificate(pki: Pki) -> None:
    """A key that does not belong to the certificate is refused."""
    config = replace(pki.config, server_key=pki.client.key)
    with pytest.raises(ConfigError, match="metadata-server/server-key: OpenSSL"):
        server_contexts(config, lambda _event: None)


@pytest.mark.parametrize("name", ["server_cert", "server_key", "client_ca"])
def test_all_three_or_none(pki: Pki, name: str) -> None:
    """Half a configuration never means "no TLS"."""
    changes: dict[str, Any] = {name: None}
    config = replace(pki.config, **changes)
    with pytest.raises(ConfigError, match="all three"):
        server_contexts(config, lambda _event: None)


def test_plain_http_is_for_loopback_only() -> None:
    """Without TLS only a loopback address is allowed."""
    plain = MetadataServerConfig()
    assert server_contexts(plain, lambda _event: None) is None
    outside = replace(plain, listen=Listen(IPv4Address("192.0.2.1"), 8775))
    with pytest.raises(ConfigError, match="allowed is a loopback address"):
        server_contexts(outside, lambda _event: None)


def test_unreadable_is_told_apart(pki: Pki) -> None:
    """A folder in place of a file is an error, not a crash."""
    folder = pki.ca.cert.parent / "folder"
    folder.mkdir()
    with pytest.raises(ConfigError):
        server_contexts(replace(pki.config, client_ca=folder), lambda _event: None)


def test_key_with_a_password_is_refused(pki: Pki, tmp_path: Path) -> None:
    """Nobody is asked for it."""
    assert pki.config.server_key is not None
    key = serialization.load_pem_private_key(pki.config.server_key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    with pytest.raises(ConfigError, match="metadata-server/server-key: cannot be used"):
        server_contexts(replace(pki.config, server_key=locked), lambda _event: None)
