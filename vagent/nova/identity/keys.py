"""The keys that identity documents are signed with: values, and their file's content.

There are three, so that nobody who reads the published keys once in a while ever meets
a signature by a key that was not published before: the one in use, the next, and the
previous one. All functions here take time (making a key a tenth of a second or more),
so call them in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

KEY_BITS = 2048
"""Of RSA: Amazon's `rsa2048`, which verifiers expect."""
ROTATE_SECONDS = 90 * 24 * 3600.0
"""How long a key is in use. It is published as long before, and as long after."""
MAX_FILE = 65_536
"""Bytes; the file has about 9,000."""

_CERTIFICATE_LIFE = timedelta(days=10 * 365)
"""Verifiers trust the certificate itself, and take the key from it; rotation ends its
use long before."""
_SLACK = timedelta(days=1)
"""Certificates begin so much earlier, as clocks differ."""


@dataclass(frozen=True)
class IdentityKey:
    """A private key and its self-signed certificate, both as PEM."""

    certificate: bytes
    private: bytes = field(repr=False)

    @cached_property
    def key(self) -> rsa.RSAPrivateKey:
        """The private key. Raises ValueError if it is none of RSA, or another's."""
        key = serialization.load_pem_private_key(self.private, password=None)
        if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < KEY_BITS:
            raise ValueError(f"not an RSA key of {KEY_BITS} bits")
        if key.public_key() != self.x509.public_key():
            raise ValueError("the certificate is of another key")
        return key

    @cached_property
    def x509(self) -> x509.Certificate:
        """The certificate. Raises ValueError."""
        return x509.load_pem_x509_certificate(self.certificate)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys, oldest first: the previous one if there was one, the one in use, the
    next. `since` is the date from which on the one in use is, in seconds.
    """

    since: float
    keys: tuple[IdentityKey, ...]

    @property
    def current(self) -> IdentityKey:
        """The key in use."""
        return self.keys[-2]

    def is_due(self, now: float) -> bool:
        """Is it time for the next key? A clock that was set back changes nothing."""
        return now - self.since >= ROTATE_SECONDS

    def next(self, fresh: IdentityKey, now: float) -> KeyRing:
        """The ring when the next key comes into use, and `fresh` is the one after."""
        return KeyRing(now, (*self.keys[-2:], fresh))


def new_key(name: str, now: float) -> IdentityKey:
    """A new key; `name` is the common name in its certificate."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    begins = datetime.fromtimestamp(now, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - _SLACK)
        .not_valid_after(begins + _CERTIFICATE_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return IdentityKey(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def new_ring(make: Callable[[], IdentityKey], now: float) -> KeyRing:
    """The first keys of a host."""
    return KeyRing(now, (make(), make()))


def encode(ring: KeyRing) -> bytes:
    """The content of the file."""
    keys = [
        {"certificate": key.certificate.decode(), "private": key.private.decode()}
        for key in ring.keys
    ]
    return json.dumps({"since": ring.since, "keys": keys}, indent=1).encode()


def decode(content: bytes) -> KeyRing:
    """The ring. Raises ValueError where the content is not one of `encode`."""
    try:
        stored = json.loads(content)
        keys = tuple(
            IdentityKey(key["certificate"].encode(), key["private"].encode())
            for key in stored["keys"]
        )
        ring = KeyRing(float(stored["since"]), keys)
        _ = [key.key for key in keys]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a file of identity keys ({error})") from None
    if not 2 <= len(keys) <= 3:
        raise ValueError(f"not a file of identity keys ({len(keys)} keys)")
    return ring
