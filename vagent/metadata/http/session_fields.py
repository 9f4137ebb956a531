"""The header fields of IMDSv2 session tokens, in both spellings that clients use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from vagent.errors import WireError

_FAMILIES = (b"X-aws-ec2-metadata-token", b"X-metadata-token")
"""Amazon's spelling, and that of others (Firecracker accepts both)."""

_TOKENS = frozenset(family.lower() for family in _FAMILIES)
_TTLS = {family.lower() + b"-ttl-seconds": family for family in _FAMILIES}
_PROXIES = frozenset((b"x-forwarded-for", b"forwarded", b"via"))
"""Fields by which a proxy says that it passes a request on (RFC 7239, RFC 9110)."""
_BEGINNINGS = (b"x-", b"x_", b"forwarded", b"via")


@dataclass(frozen=True, slots=True)
class SessionFields:
    """`token` as sent, None where the field is absent; `ttl` as sent, b"" where absent;
    `family` is the spelling in which the TTL was asked.

    `is_forwarded`: a field says that the request came through a proxy.
    """

    token: bytes | None = field(default=None, repr=False)
    ttl: bytes = b""
    family: bytes = _FAMILIES[0]
    is_forwarded: bool = False


NO_SESSION = SessionFields()


def session_fields(fields: Iterable[tuple[bytes, bytes]]) -> SessionFields:
    """What the fields of a request head say of session tokens. Names are in lower case.
    Raises WireError where two fields contradict each other.
    """
    about = [
        (name, value.strip(b" \t"))
        for name, value in fields
        if name.startswith(_BEGINNINGS)
    ]
    if not about:
        return NO_SESSION
    tokens = {value for name, value in about if name in _TOKENS}
    ttls = [(name, value) for name, value in about if name in _TTLS]
    if len(tokens) > 1:
        raise WireError("session tokens that differ")
    if len({value for _, value in ttls}) > 1:
        raise WireError("lifetimes of a session token that differ")
    asked_as, ttl = min(ttls, default=(b"", b""))
    return SessionFields(
        token=next(iter(tokens), None),
        ttl=ttl,
        family=_TTLS.get(asked_as, _FAMILIES[0]),
        is_forwarded=any(name.replace(b"_", b"-") in _PROXIES for name, _ in about),
    )
