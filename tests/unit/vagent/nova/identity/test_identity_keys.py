"""Identity keys: what they are, when they change, and their file's content."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.unit.vagent.nova.identity.made_keys import NOW, made
from vagent.nova.identity.keys import (
    ROTATE_SECONDS,
    IdentityKey,
    KeyRing,
    decode,
    encode,
    new_key,
    new_ring,
)


def test_a_new_key() -> None:
    """RSA of 2048 bits, with a certificate signed by itself that is valid already."""
    key, certificate = made(1).key, made(1).x509
    assert 2048 == key.key_size
    assert key.public_key() == certificate.public_key()
    certificate.verify_directly_issued_by(certificate)
    assert "CN=host-1" == certificate.subject.rfc4514_string()
    now = datetime.fromtimestamp(NOW, UTC)
    assert certificate.not_valid_before_utc == now - timedelta(days=1)
    assert certificate.not_valid_after_utc > now + timedelta(seconds=3 * ROTATE_SECONDS)
    limits = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert limits.critical
    assert not limits.value.ca


def test_a_long_host_name_is_cut() -> None:
    """A common name has at most 64 characters (RFC 5280 §A.1)."""
    key = new_key("a" * 200, NOW)
    assert "CN=" + "a" * 64 == key.x509.subject.rfc4514_string()


def test_a_key_is_not_shown() -> None:
    """Not even in a traceback's values."""
    assert "PRIVATE" not in repr(made(1))


def test_turns() -> None:
    """The next one comes into use, the one in use stays known, the oldest goes."""
    numbers = iter((1, 2))
    ring = new_ring(lambda: made(next(numbers)), NOW)
    assert (made(1), made(2)) == ring.keys
    assert made(1) == ring.current
    assert not ring.is_due(NOW + ROTATE_SECONDS - 1)
    assert not ring.is_due(NOW - ROTATE_SECONDS * 9)
    assert ring.is_due(NOW + ROTATE_SECONDS)
    second = ring.next(made(3), NOW + 5)
    assert KeyRing(NOW + 5, (made(1), made(2), made(3))) == second
    assert made(2) == second.current
    third = second.next(made(4), NOW + 6)
    assert (made(2), made(3), made(4)) == third.keys


def test_the_file_has_all_of_it() -> None:
    """What is written is what is read."""
    ring = KeyRing(NOW, (made(1), made(2), made(3)))
    assert ring == decode(encode(ring))


def other_private() -> bytes:
    return made(2).private


def elliptic() -> bytes:
    return pem(ec.generate_private_key(ec.SECP256R1()))


def short() -> bytes:
    return pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))  # noqa: S505 that is the point


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize("private", [other_private, elliptic, short, bytes])
def test_a_private_key_that_does_not_fit(private: object) -> None:
    """Another's, of another kind, too short, none."""
    assert callable(private)
    wrong = replace(made(1), private=private())
    with pytest.raises(ValueError, match="not a file of identity keys"):
        decode(encode(KeyRing(NOW, (wrong, made(2)))))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"since": "x", "keys": []}',
        b'{"since": 1, "keys": [1]}',
        b'{"since": 1, "keys": [{"certificate": 1, "private": 2}]}',
    ],
)
def test_another_content(content: bytes) -> None:
    """It is no file of keys, and that is said."""
    with pytest.raises(ValueError, match="not a file of identity keys"):
        decode(content)


@pytest.mark.parametrize("count", [1, 4])
def test_too_few_or_too_many(count: int) -> None:
    """Two at first, then three."""
    ring = KeyRing(NOW, tuple(made(1) for _ in range(count)))
    with pytest.raises(ValueError, match=f"{count} keys"):
        decode(encode(ring))
    assert count == len(json.loads(encode(ring))["keys"])


def test_a_certificate_that_is_none() -> None:
    """As for private keys."""
    wrong = IdentityKey(b"x", made(1).private)
    with pytest.raises(ValueError, match="not a file"):
        decode(encode(KeyRing(NOW, (wrong, made(2)))))
