"""Which header fields are passed on, in which direction.

Requests: only those of an allow-list, because nova-api changes its behaviour on fields
that a guest could send (`X-Metadata-Provider`, `X-Forwarded-For`, and with uWSGI any
spelling of them with underscores). Responses: all but the hop-by-hop fields (RFC 9110
§7.6.1), because the upstream belongs to the cloud.
"""

from __future__ import annotations

import re

FORWARDED = {
    b"accept": b"Accept",  # Nova chooses the format of its error bodies by it
    b"content-type": b"Content-Type",  # describes the body that is forwarded
    b"user-agent": b"User-Agent",  # upstream logs tell clients apart by it
}
"""Fields of a guest's request that reach the upstream: lower-case name → name sent.

Left out on purpose: conditional, range and encoding fields (Nova ignores them, and a
cached response must suit every later request for the same), cookies and credentials
(nothing here needs them), and everything that names an identity or a route.
"""

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Fields that are never relayed; nor are those that `Connection` names."""

INSTANCE_FIELD = b"x-vagent-unknown-instance"
"""Field of a 404 of the embedded server: it does not know the instance, so the path may
well exist once it does. Not relayed."""

BODILESS = frozenset((204, 304))
"""Statuses whose responses have no body, whatever their head says (RFC 9110 §6.4.1)."""

_HOST = re.compile(
    rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._~%-]{1,32})?\])"
    rb"(?::[0-9]{0,5})?"
)


def is_host(value: bytes) -> bool:
    """Is this a valid Host: a name, IPv4 or bracketed IPv6 address, perhaps a port?

    An IPv6 address may have a zone (`[fe80::1%eth0]`).
    """
    return _HOST.fullmatch(value) is not None


def tokens(value: bytes) -> frozenset[bytes]:
    """The lower-case members of a comma-separated field such as `Connection`."""
    return frozenset(part.strip(b" \t") for part in value.lower().split(b","))
