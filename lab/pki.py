"""A throw-away certificate authority, so that TLS in demo and tests is real."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=90)
AGE = dt.timedelta(hours=1)
"""Longer than the time before an end in which the agent warns."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Paths of a certificate and its key (PEM)."""

    cert: Path
    key: Path


class Authority:
    """A CA in a folder; `cert` is what the other side trusts. What it issues is valid
    from `age` before now until `lifetime` after it.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "vagent lab CA",
        *,
        lifetime: dt.timedelta = LIFETIME,
        age: dt.timedelta = AGE,
    ) -> None:
        self._folder = folder
        self._span = (age, lifetime)
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        certificate = (
            _builder(subject, subject, self._key, self._span)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._certificate = certificate
        self.cert = folder / "ca.crt"
        self.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, label: str, *names: str) -> KeyPair:
        """A server certificate for host names and IP addresses."""
        return self._issue(label, names, ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, label: str, *, lifetime: dt.timedelta | None = None) -> KeyPair:
        """A client certificate; it ends so long after now if that is given."""
        return self._issue(label, (), ExtendedKeyUsageOID.CLIENT_AUTH, lifetime)

    def revoke(self, certificate: Path) -> bytes:
        """A revocation list (PEM) with this certificate on it."""
        (one,) = x509.load_pem_x509_certificates(certificate.read_bytes())
        now = dt.datetime.now(dt.UTC)
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(one.serial_number)
            .revocation_date(now - AGE)
            .build()
        )
        made = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - AGE)
            .next_update(now + LIFETIME)
            .add_revoked_certificate(entry)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    def _issue(
        self,
        label: str,
        names: tuple[str, ...],
        usage: x509.ObjectIdentifier,
        lifetime: dt.timedelta | None = None,
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        age, usual = self._span
        span = (age, usual if lifetime is None else lifetime)
        builder = _builder(_name(label), self._certificate.subject, key, span)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        ).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]),
                critical=False,
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        pair = KeyPair(self._folder / f"{label}.crt", self._folder / f"{label}.key")
        pair.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        handle = os.open(pair.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secret)
        return pair


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    span: tuple[dt.timedelta, dt.timedelta],
) -> x509.CertificateBuilder:
    now, (age, lifetime) = dt.datetime.now(dt.UTC), span
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - age)
        .not_valid_after(now + lifetime)
    )
