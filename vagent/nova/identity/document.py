"""The identity document of an instance, and the claims of its token. Pure.

The document has Amazon's members (those that nobody here can know are null), and two of
our own: `instanceUuid` and `hostname`. It is the same text as long as the instance is
described the same, so a signature fetched after it fits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from vagent.errors import WireError
from vagent.nova.additions.interfaces import NetworkInterface
from vagent.nova.instance import Instance

TOKEN_SECONDS = 600
"""How long a token is valid. It is made to be shown at once."""
MAX_WORD = 255
"""Characters of an audience or a nonce."""

_VERSION = "2017-09-30"
"""Amazon's version of the members."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What the caller wants to be in its token: for whom it is, and, unless it is "", a
    nonce of whom it will be shown to.
    """

    audience: str
    nonce: str


def identity_document(
    instance: Instance, address: str, interfaces: Sequence[NetworkInterface]
) -> bytes:
    """The document as JSON. `address` is the guest's as the proxy gives it."""
    own = interfaces[0].ipv4 if interfaces else ()
    private = instance.fixed_ipv4 or (own[0].ip if own else address or None)
    members = {
        "accountId": instance.tenant_id,
        "architecture": None,
        "availabilityZone": instance.availability_zone,
        "billingProducts": None,
        "devpayProductCodes": None,
        "hostname": instance.full_hostname,
        "imageId": instance.ec2.image,
        "instanceId": instance.ec2.instance,
        "instanceType": instance.instance_type,
        "instanceUuid": instance.uuid,
        "kernelId": instance.ec2.kernel,
        "marketplaceProductCodes": None,
        "pendingTime": None,
        "privateIp": None if private is None else str(private),
        "ramdiskId": instance.ec2.ramdisk,
        "region": instance.ec2.region,
        "version": _VERSION,
    }
    return json.dumps(members, indent=2).encode()


def token_request(query: str) -> TokenRequest:
    """From `audience=…&nonce=…`. Raises WireError, which says what is wrong."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError:
        raise WireError("query: got no UTF-8, allowed is audience=…&nonce=…") from None
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in ("audience", "nonce") or name in given:
            raise WireError("query: allowed are audience and nonce, each once")
        if not 1 <= len(value) <= MAX_WORD or not value.isprintable():
            raise WireError(f"{name}: allowed are 1 to {MAX_WORD} printable characters")
        given[name] = value
    if "audience" not in given:
        raise WireError("audience: is missing, must be given (?audience=…&nonce=…)")
    return TokenRequest(given["audience"], given.get("nonce", ""))


def token_claims(
    wanted: TokenRequest, document: bytes, *, issuer: str, now: float
) -> Mapping[str, Any]:
    """The claims (RFC 7519 §4.1), with the identity document as `instance`.

    `sub` is the instance's UUID. `now` is the date in seconds.
    """
    instance = json.loads(document)
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": instance["instanceUuid"],
        "aud": wanted.audience,
        "iat": int(now),
        "nbf": int(now),
        "exp": int(now) + TOKEN_SECONDS,
        "instance": instance,
    }
    if wanted.nonce:
        claims["nonce"] = wanted.nonce
    return claims
