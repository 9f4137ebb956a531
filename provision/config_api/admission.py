"""Whom the config API listens to: tools, never a browser that somebody else drives.

It has no passwords and stands on loopback, so the danger is a web page in the
operator's browser. Two rules end it. No `Origin`: browsers send one with every request
that a page makes to another site. A `Host` that is an IP address, localhost or a name
from the configuration: a rebound DNS name (DNS rebinding) is none of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from ipaddress import ip_address

from provision.config_api.reply import RefusedError

_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253}))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)


def check_origin(origins: Sequence[str]) -> None:
    """Raise RefusedError (403) if a web page sent the request."""
    if origins:
        raise RefusedError(403, "Origin: requests from web pages are not allowed")


def check_host(hosts: Sequence[str], *, names: Collection[str], default: str) -> str:
    """The host (and port) by which the client calls us; `default` if it did not say.

    `names` are allowed beside IP addresses and localhost, in lower case. Raises
    RefusedError: 400 for a malformed or doubled Host, 403 for a foreign name.
    """
    if not hosts:
        return default
    match = _HOST.fullmatch(hosts[0])
    if len(hosts) > 1 or match is None:
        raise RefusedError(
            400, "Host: one host name or IP address, with or without port"
        )
    name = match["v6"] or match["name"].lower()
    if not (name == "localhost" or name in names or _is_address(name)):
        raise RefusedError(
            403, f"Host: {name} is not a name of this server (IP address or localhost)"
        )
    return hosts[0]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
