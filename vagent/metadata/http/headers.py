"""Which headers cross the proxy, in which direction.

Towards the upstream: an allow-list, because Nova changes its behaviour on headers that
a guest could send (`X-Metadata-Provider`, `X-Forwarded-For`, and with uWSGI any
spelling of them with underscores). Towards the guest: everything but hop-by-hop
fields (RFC 9110 §7.6.1), because the upstream is ours.
"""

from __future__ import annotations

import re

FORWARDED = {
    b"accept": b"Accept",  # Nova picks the format of its error bodies by it
    b"content-type": b"Content-Type",  # belongs to the body we forward
    b"user-agent": b"User-Agent",  # upstream logs tell clients apart by it
}
"""Guest headers that reach the upstream: lower-case name → the name we send.

Left out on purpose: conditional, range and encoding headers (Nova ignores them, and a
reply must fit every guest request of its kind), cookies and credentials (a guest has
none here), and everything that names an identity or a route.
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
"""Never relayed; so are the fields that `Connection` nominates."""

_HOST = re.compile(
    rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._~%-]{1,32})?\])"
    rb"(?::[0-9]{0,5})?"
)


def is_host(value: bytes) -> bool:
    """Is this a Host value: name, IPv4 or bracketed IPv6 (zone allowed), port?"""
    return _HOST.fullmatch(value) is not None


def tokens(value: bytes) -> frozenset[bytes]:
    """The lower-case members of a comma-separated field such as `Connection`."""
    return frozenset(part.strip(b" \t") for part in value.lower().split(b","))
