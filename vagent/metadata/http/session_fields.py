"""The header fields of IMDSv2 session tokens, in both spellings that clients use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_FAMILIES = (b"X-aws-ec2-metadata-token", b"X-metadata-token")
"""Amazon's spelling, and that of others (Firecracker accepts both)."""

_NAMES = tuple(
    (family.lower(), family.lower() + b"-ttl-seconds", family) for family in _FAMILIES
)


@dataclass(frozen=True, slots=True)
class SessionFields:
    """`token` and `ttl` as sent, b"" where absent; `family` is the TTL's spelling.

    `is_forwarded`: there is an X-Forwarded-For, so the request came through a proxy.
    """

    token: bytes = field(default=b"", repr=False)
    ttl: bytes = b""
    family: bytes = _FAMILIES[0]
    is_forwarded: bool = False


NO_SESSION = SessionFields()


def session_fields(named: Mapping[bytes, bytes]) -> SessionFields:
    """From the fields of a head, by lower-case name. Amazon's spelling wins."""
    if not any(name.startswith((b"x-", b"x_")) for name in named):
        return NO_SESSION
    token = ttl = b""
    family = _FAMILIES[0]
    for token_name, ttl_name, spelling in _NAMES:
        token = token or named.get(token_name, b"")
        if not ttl and ttl_name in named:
            ttl, family = named[ttl_name], spelling
    is_forwarded = any(name.replace(b"_", b"-") == b"x-forwarded-for" for name in named)
    return SessionFields(token, ttl, family, is_forwarded)
