"""Header checks: Nova's order, statuses and texts; nothing else convinces."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from vagent.config.model import Secret
from vagent.nova.authority import (
    BAD_SIGNATURE,
    NO_INSTANCE,
    NO_SIGNATURE,
    NO_TENANT,
    Authority,
    Claim,
)

# The vector that agents in the field are tested with.
SECRET = b"deadbeef2eb84d8d"
INSTANCE = b"32d0524b-314d-4594-b3a3-607e3f2354f8"
SIGNATURE = b"6bcbe3885ae7efc49cef35b438efe29c95501f4a720a0c53ed000d8fcf04a605"
GOOD = {
    "x-instance-id": INSTANCE,
    "x-instance-id-signature": SIGNATURE,
    "x-tenant-id": b"7e000000000040008000000000000001",
    "x-forwarded-for": b"10.0.0.5",
}


def sign(secret: bytes, instance: bytes) -> bytes:
    return hmac.new(secret, instance, hashlib.sha256).hexdigest().encode()


def test_good() -> None:
    """A signed request is a claim; the address is only reported."""
    claim = Claim(INSTANCE.decode(), "7e000000000040008000000000000001", "10.0.0.5")
    assert Authority(Secret(SECRET)).admit(GOOD) == claim


def test_address_is_optional() -> None:
    """X-Forwarded-For may be missing."""
    headers = {k: v for k, v in GOOD.items() if k != "x-forwarded-for"}
    claim = Authority(Secret(SECRET)).admit(headers)
    assert isinstance(claim, Claim)
    assert claim.address == ""


@pytest.mark.parametrize(
    ("missing", "refusal"),
    [
        (("x-instance-id",), NO_INSTANCE),
        (("x-instance-id-signature",), NO_SIGNATURE),
        (("x-tenant-id",), NO_TENANT),
        (("x-instance-id-signature", "x-tenant-id"), NO_SIGNATURE),
        (tuple(GOOD), NO_INSTANCE),
    ],
)
def test_missing_headers_in_order(missing: tuple[str, ...], refusal: object) -> None:
    """Instance, then signature, then tenant: the first one missing is named."""
    headers = {k: v for k, v in GOOD.items() if k not in missing}
    assert refusal == Authority(Secret(SECRET)).admit(headers)


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        SIGNATURE.upper(),
        SIGNATURE[:-1],
        SIGNATURE + b"0",
        SIGNATURE + b"," + SIGNATURE,
        b"\xc3\xa9" * 64,
        b"\xff" * 64,
        sign(b"other", INSTANCE),
        sign(SECRET, INSTANCE[:-1]),
    ],
)
def test_wrong_signatures(signature: bytes) -> None:
    """Nothing but the exact lower-case hex of the right key and name will do."""
    headers = {**GOOD, "x-instance-id-signature": signature}
    assert Authority(Secret(SECRET)).admit(headers) == BAD_SIGNATURE


def test_order_of_missing_tenant_and_wrong_signature() -> None:
    """A missing tenant is said before the signature is looked at."""
    headers = {"x-instance-id": INSTANCE, "x-instance-id-signature": b"no"}
    assert Authority(Secret(SECRET)).admit(headers) == NO_TENANT


def test_empty_secret_still_demands_a_signature() -> None:
    """Without a secret the empty key counts; an unsigned request stays out."""
    authority = Authority(Secret(b""))
    signed = {**GOOD, "x-instance-id-signature": sign(b"", INSTANCE)}
    assert isinstance(authority.admit(signed), Claim)
    assert authority.admit(GOOD) == BAD_SIGNATURE


def test_empty_instance_id_is_a_name_like_others() -> None:
    """An empty id that is signed is a claim; nobody has that name."""
    headers = {
        **GOOD,
        "x-instance-id": b"",
        "x-instance-id-signature": sign(SECRET, b""),
    }
    claim = Authority(Secret(SECRET)).admit(headers)
    assert isinstance(claim, Claim)
    assert claim.instance_id == ""


def test_secret_does_not_show() -> None:
    """repr does not give the secret away."""
    assert SECRET.decode() not in repr(Authority(Secret(SECRET)))
    assert SECRET.decode() not in repr(vars(Authority(Secret(SECRET))))
