"""A client certificate of the right CA is demanded; files are renewed while it runs.

Real OpenSSL on both sides, wires in memory.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.test.iosim import IOPump, connect, makeFakeClient, makeFakeServer
from zope.interface import implementer

from vagent.config.model import Listen, MetadataServerConfig, Secret
from vagent.errors import ConfigError
from vagent.nova.authority import Authority
from vagent.nova.events import NovaTlsReloaded
from vagent.nova.server import metadata_site
from vagent.nova.tls import ServerContexts, server_tls_context
from vagent.observe.event import Event

NOW = dt.datetime.now(dt.UTC)


class Authoritative:
    """A CA that writes PEM files."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        certificate = self._sign(self._name, self._key, authority=True)
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, usage: x509.ObjectIdentifier) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, usage=usage)
        pair = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        pair[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        authority: bool = False,
        usage: x509.ObjectIdentifier | None = None,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - dt.timedelta(hours=1))
            .not_valid_after(NOW + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
        return builder.sign(self._key, hashes.SHA256())


@dataclass
class Pki:
    ca: Authoritative
    config: MetadataServerConfig
    client: tuple[Path, Path]


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    ca = Authoritative(tmp_path, "ca")
    certificate, key = ca.issue("server", ExtendedKeyUsageOID.SERVER_AUTH)
    config = MetadataServerConfig(
        server_cert=certificate, server_key=key, client_ca=ca.path
    )
    return Pki(ca, config, ca.issue("client", ExtendedKeyUsageOID.CLIENT_AUTH))


@implementer(IOpenSSLContextFactory)
class ClientContexts:
    """A client that checks the server, and shows a certificate if it has one."""

    def __init__(self, ca: Path, pair: tuple[Path, Path] | None, version: int) -> None:
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.context.set_max_proto_version(version)
        self.context.set_min_proto_version(version)
        self.context.set_cipher_list(b"DEFAULT@SECLEVEL=0")
        self.context.load_verify_locations(str(ca))
        self.context.set_verify(SSL.VERIFY_PEER)
        if pair is not None:
            self.context.use_certificate_file(str(pair[0]))
            self.context.use_privatekey_file(str(pair[1]))

    def getContext(self) -> SSL.Context:
        return self.context


class Asking(Protocol):
    """Asks for the root and collects what comes."""

    def __init__(self) -> None:
        self.reply = b""
        self.lost: Failure | None = None
        self.peer: x509.Certificate | None = None

    def connectionMade(self) -> None:
        self.transport.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # type: ignore[union-attr]  # connected

    def dataReceived(self, data: bytes) -> None:
        self.reply += data
        self.peer = self.transport.getPeerCertificate().to_cryptography()  # type: ignore[union-attr]  # a TLS transport

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default argument
        self.lost = reason


class Nobody:
    """Knows no instances and no passwords."""

    async def get(self, instance_id: str) -> Any:
        return None

    async def set(self, instance_id: str, password: str) -> None:
        """Forget it."""


def ask(
    contexts: ServerContexts,
    ca: Path,
    pair: tuple[Path, Path] | None,
    version: int = SSL.TLS1_3_VERSION,
) -> Asking:
    """One connection from a client to the site over TLS."""
    clock = Clock()
    site = metadata_site(
        Nobody(),
        Nobody(),
        Authority(Secret(b"")),
        entropy=bytes,
        emit=lambda _event: None,
        reactor=clock,
    )
    asking = Asking()
    client_factory: Factory[Any] = Factory.forProtocol(lambda: asking)
    serving = TLSMemoryBIOFactory(contexts, False, site, clock)
    calling = TLSMemoryBIOFactory(
        ClientContexts(ca, pair, version), True, client_factory, clock
    )
    server_side, client_side = serving.buildProtocol(None), calling.buildProtocol(None)
    pump: IOPump = connect(
        server_side,
        makeFakeServer(server_side),
        client_side,
        makeFakeClient(client_side),
        greet=False,
        clock=clock,
    )
    pump.flush()
    for _ in range(20):
        clock.advance(0)
        pump.flush()
    return asking


def contexts_of(pki: Pki, events: list[Event]) -> ServerContexts:
    contexts = server_tls_context(pki.config, events.append)
    assert contexts is not None
    return contexts


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_client_with_certificate_is_served(pki: Pki, version: int) -> None:
    """A certificate of the client CA opens the door, over TLS 1.2 and 1.3."""
    contexts = contexts_of(pki, [])
    for _ in range(2):
        asking = ask(contexts, pki.ca.path, pki.client, version)
        assert asking.reply.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_client_without_certificate_is_refused(pki: Pki, version: int) -> None:
    """No certificate: not a byte of HTTP."""
    asking = ask(contexts_of(pki, []), pki.ca.path, None, version)
    assert asking.reply == b""
    assert asking.lost is not None


def test_client_of_another_ca_is_refused(pki: Pki, tmp_path: Path) -> None:
    """A certificate that somebody else signed is worth nothing."""
    rogue_folder = tmp_path / "rogue"
    rogue_folder.mkdir()
    rogue = Authoritative(rogue_folder, "ca")
    pair = rogue.issue("client", ExtendedKeyUsageOID.CLIENT_AUTH)
    asking = ask(contexts_of(pki, []), pki.ca.path, pair)
    assert asking.reply == b""
    assert asking.lost is not None


def test_server_certificate_is_no_client_certificate(pki: Pki) -> None:
    """A certificate for servers only does not make a client."""
    pair = pki.ca.issue("other", ExtendedKeyUsageOID.SERVER_AUTH)
    assert ask(contexts_of(pki, []), pki.ca.path, pair).reply == b""


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_old_tls_is_refused(pki: Pki) -> None:
    """TLS 1.1 is not spoken."""
    version = SSL.TLS1_1_VERSION
    assert ask(contexts_of(pki, []), pki.ca.path, pki.client, version).reply == b""


def test_new_certificate_is_taken_without_restart(pki: Pki) -> None:
    """When the files change the next connection gets the new certificate."""
    events: list[Event] = []
    contexts = contexts_of(pki, events)
    before = ask(contexts, pki.ca.path, pki.client).peer
    pki.ca.issue("server", ExtendedKeyUsageOID.SERVER_AUTH)
    after = ask(contexts, pki.ca.path, pki.client).peer
    assert before is not None
    assert after is not None
    assert before.serial_number != after.serial_number
    assert [NovaTlsReloaded()] == events
    assert events[0].label() == "done"
    assert contexts.getContext() is contexts.getContext()


def test_unusable_renewal_keeps_the_old_one(pki: Pki) -> None:
    """Broken files are reported once, and the server goes on with what it has."""
    events: list[Event] = []
    contexts = contexts_of(pki, events)
    assert pki.config.server_key is not None
    pki.config.server_key.write_text("nonsense")
    for _ in range(2):
        asking = ask(contexts, pki.ca.path, pki.client)
        assert asking.reply.startswith(b"HTTP/1.1 200 OK")
    (event,) = events
    assert event.label() == "failed"
    assert "server-key: OpenSSL cannot use it" in event.text()
    assert "nonsense" not in event.text()
    pki.config.server_key.unlink()
    assert ask(contexts, pki.ca.path, pki.client).reply
    assert "No such file" in events[1].text()


@pytest.mark.parametrize("name", ["server_cert", "server_key", "client_ca"])
def test_unusable_files_are_named(pki: Pki, name: str, tmp_path: Path) -> None:
    """A missing or broken file is a configuration error that names file and element."""
    broken = tmp_path / "broken.pem"
    broken.write_text("nonsense")
    element = name.replace("_", "-")
    for path in (broken, tmp_path / "absent.pem"):
        config = replace(pki.config, **{name: path})
        with pytest.raises(ConfigError) as refusal:
            server_tls_context(config, lambda _event: None)
        assert f"{path}:0: metadata-server/{element}: " in str(refusal.value)


def test_key_of_another_certificate(pki: Pki) -> None:
    """A key that does not belong to the certificate is refused."""
    config = replace(pki.config, server_key=pki.client[1])
    with pytest.raises(ConfigError, match="metadata-server/server-key: OpenSSL"):
        server_tls_context(config, lambda _event: None)


@pytest.mark.parametrize("name", ["server_cert", "server_key", "client_ca"])
def test_all_three_or_none(pki: Pki, name: str) -> None:
    """Half a configuration never means "no TLS"."""
    config = replace(pki.config, **{name: None})
    with pytest.raises(ConfigError, match="all three"):
        server_tls_context(config, lambda _event: None)


def test_plain_http_is_for_loopback_only() -> None:
    """Without TLS only a loopback address is allowed."""
    plain = MetadataServerConfig()
    assert server_tls_context(plain, lambda _event: None) is None
    outside = replace(plain, listen=Listen(IPv4Address("192.0.2.1"), 8775))
    with pytest.raises(ConfigError, match="allowed is a loopback address"):
        server_tls_context(outside, lambda _event: None)


def test_unreadable_is_told_apart(pki: Pki) -> None:
    """A folder in place of a file is an error, not a crash."""
    folder = pki.ca.path.parent / "folder"
    folder.mkdir()
    with pytest.raises(ConfigError):
        server_tls_context(replace(pki.config, client_ca=folder), lambda _event: None)
