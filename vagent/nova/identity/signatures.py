"""Signatures by an identity key, in the forms that verifiers read. Pure.

Amazon's are base64 in lines, without the markers of PEM: `signature` is RSA (PKCS #1
v1.5, SHA-256) of the document, `pkcs7` and `rsa2048` are CMS signed data (RFC 5652)
that contain it and no certificate, so the verifier brings its own. A token is a JSON
Web Signature (RFC 7515), RS256.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from vagent.nova.identity.keys import IdentityKey, KeyRing

_LINE = 64
"""Characters of a line of base64."""


def key_id(key: IdentityKey) -> str:
    """The key's name: its thumbprint (RFC 7638), as `kid` in tokens and key sets."""
    numbers = _numbers(key)
    members = {"e": numbers["e"], "kty": "RSA", "n": numbers["n"]}
    text = json.dumps(members, separators=(",", ":"))
    return _base64url(hashlib.sha256(text.encode()).digest())


def signature(key: IdentityKey, content: bytes) -> bytes:
    """The bare RSA signature."""
    signed = key.key.sign(content, padding.PKCS1v15(), hashes.SHA256())
    return _lines(signed)


def signed_data(key: IdentityKey, content: bytes) -> bytes:
    """CMS signed data with the content in it. Without signed attributes, so that the
    same content always gives the same bytes.
    """
    # Imported here, because with it comes all of `email`, and most hosts never need it.
    from cryptography.hazmat.primitives.serialization import pkcs7

    builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
    builder = builder.add_signer(key.x509, key.key, hashes.SHA256())
    options = [
        pkcs7.PKCS7Options.Binary,
        pkcs7.PKCS7Options.NoAttributes,
        pkcs7.PKCS7Options.NoCerts,
    ]
    return _lines(builder.sign(serialization.Encoding.DER, options))


def token(key: IdentityKey, claims: Mapping[str, Any]) -> bytes:
    """The claims as a signed token."""
    header = {"alg": "RS256", "kid": key_id(key), "typ": "JWT"}
    parts = (
        _base64url(json.dumps(part, separators=(",", ":")).encode())
        for part in (header, dict(claims))
    )
    content = ".".join(parts)
    signed = key.key.sign(content.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{content}.{_base64url(signed)}".encode()


def key_set(ring: KeyRing) -> dict[str, Any]:
    """The public keys as a JSON Web Key Set, the one in use first, then the next."""
    return {"keys": [_web_key(key) for key in _published(ring)]}


def certificates(ring: KeyRing) -> bytes:
    """The same keys as certificates in PEM."""
    return b"".join(key.certificate for key in _published(ring))


def _published(ring: KeyRing) -> tuple[IdentityKey, ...]:
    return (*ring.keys[-2:], *ring.keys[:-2])


def _web_key(key: IdentityKey) -> dict[str, Any]:
    der = key.x509.public_bytes(serialization.Encoding.DER)
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": key_id(key),
        **_numbers(key),
        "x5c": [base64.b64encode(der).decode()],
    }


def _numbers(key: IdentityKey) -> dict[str, str]:
    public = key.x509.public_key()
    if not isinstance(public, rsa.RSAPublicKey):
        raise TypeError("the certificate's key is not RSA")
    numbers = public.public_numbers()
    return {"n": _base64url_number(numbers.n), "e": _base64url_number(numbers.e)}


def _base64url_number(number: int) -> str:
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _lines(data: bytes) -> bytes:
    text = base64.b64encode(data)
    return b"\n".join(text[at : at + _LINE] for at in range(0, len(text), _LINE))
