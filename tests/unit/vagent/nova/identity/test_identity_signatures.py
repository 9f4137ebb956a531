"""Signatures in Amazon's forms and as tokens, checked with the published keys."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.unit.vagent.nova.identity.made_keys import NOW, made
from vagent.nova.identity.keys import KeyRing
from vagent.nova.identity.signatures import (
    certificates,
    key_id,
    key_set,
    signature,
    signed_data,
    token,
)

DOCUMENT = b'{"a": 1}'


def check(number: int, signed: bytes, content: bytes) -> None:
    public = made(number).x509.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(signed, content, padding.PKCS1v15(), hashes.SHA256())


def unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_bare_signature() -> None:
    """Base64 in lines of 64; only this key's, and only of this document."""
    text = signature(made(1), DOCUMENT)
    lines = text.split(b"\n")
    assert [64] * (len(lines) - 1) == [len(line) for line in lines[:-1]]
    signed = base64.b64decode(text, validate=False)
    check(1, signed, DOCUMENT)
    with pytest.raises(InvalidSignature):
        check(1, signed, DOCUMENT + b" ")
    with pytest.raises(InvalidSignature):
        check(2, signed, DOCUMENT)


def test_signed_data() -> None:
    """Contains the document as it is and no certificate, and is always the same."""
    text = signed_data(made(1), DOCUMENT)
    assert text == signed_data(made(1), DOCUMENT)
    assert max(map(len, text.split(b"\n"))) <= 64
    data = base64.b64decode(text)
    assert DOCUMENT in data
    assert made(1).x509.signature not in data
    assert base64.b64decode(signature(made(1), DOCUMENT)) in data


def test_a_token() -> None:
    """Three parts of base64url; the header names the key."""
    head, claims, signed = token(made(1), {"aud": "é"}).decode().split(".")
    header = {"alg": "RS256", "kid": key_id(made(1)), "typ": "JWT"}
    assert header == json.loads(unbase64url(head))
    assert {"aud": "é"} == json.loads(unbase64url(claims))
    check(1, unbase64url(signed), f"{head}.{claims}".encode())


def test_the_name_of_a_key_is_its_thumbprint() -> None:
    """RFC 7638: of the members e, kty, n in this order."""
    (public,) = key_set(KeyRing(NOW, (made(1), made(2))))["keys"][:1]
    text = f'{{"e":"{public["e"]}","kty":"RSA","n":"{public["n"]}"}}'
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
    assert digest.decode().rstrip("=") == key_id(made(1)) == public["kid"]


def test_public_keys_in_use_first() -> None:
    """The one in use, the next, the previous one: numbers and certificates alike."""
    ring = KeyRing(NOW, (made(1), made(2), made(3)))
    keys = key_set(ring)["keys"]
    assert [key_id(made(n)) for n in (2, 3, 1)] == [key["kid"] for key in keys]
    found = x509.load_pem_x509_certificates(certificates(ring))
    assert [made(n).x509 for n in (2, 3, 1)] == found
    for key, certificate in zip(keys, found, strict=True):
        public = certificate.public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        numbers = [int.from_bytes(unbase64url(key[name])) for name in "ne"]
        assert [public.public_numbers().n, public.public_numbers().e] == numbers
        der = base64.b64decode(key["x5c"][0])
        assert certificate == x509.load_der_x509_certificate(der)
        rest = {name: key[name] for name in ("kty", "use", "alg")}
        assert {"kty": "RSA", "use": "sig", "alg": "RS256"} == rest
        assert "d" not in key
