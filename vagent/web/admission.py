"""Which requests an operator's site answers, decided from Host and Origin alone. Pure.

The danger is a web page in an operator's own browser, which can send requests to
127.0.0.1. Two rules end it, and they are the same on all three sites:

- No `Origin`. Browsers send it with every request that a page makes to another site and
  may do harm; command-line clients never do, nor does a browser that follows a link.
- A `Host` that is an IP address or a name of this host. A page that has its own name's
  address changed to 127.0.0.1 (DNS rebinding) still sends that name.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from vagent.config.host_names import canonical, is_host_name

_HOST = re.compile(
    r"(?:\[(?P<v6>[^]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[0-9]{0,5}))?"
)


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a request is not answered: HTTP's status, a reason from a closed set (`host`,
    `origin`, `body`) that counters may use as a label, and a sentence for the client.
    """

    status: int
    reason: str
    text: str


def check_admission(
    hosts: Sequence[str],
    origins: Sequence[str],
    *,
    names: Container[str],
    needs_host: bool,
) -> Denial | None:
    """None if the request may be answered.

    `hosts` and `origins` are the values of these headers, one for each time that they
    stand in the request; `names` are the host names of this host in canonical spelling;
    `needs_host` is true for HTTP/1.1.

    403 is for who asks (Origin). 400 is for a Host that is missing, doubled or
    malformed (RFC 9112 §3.2 demands that status), 421 for one of another server (RFC
    9110 §15.5.20): the client has the wrong name, it does not lack permission.
    """
    if origins:
        return Denial(403, "origin", "Origin: web pages may not send requests here")
    if not hosts and not needs_host:
        return None
    if len(hosts) != 1:
        return Denial(
            400, "host", f"Host: {len(hosts)} of them, exactly one is allowed"
        )
    host = _read_host(hosts[0])
    if host is None:
        return Denial(
            400, "host", "Host: not a host name or IP address, with or without a port"
        )
    if host in names or _is_address(host):
        return None
    return Denial(
        421,
        "host",
        "Host: not a name of this server; allowed: an IP address, localhost, this "
        "host's own name, and the operator-host-names of agent.conf",
    )


def _read_host(field: str) -> str | None:
    """The host in a Host field, an IPv6 address with its brackets; None if it is
    malformed.
    """
    match = _HOST.fullmatch(field)
    if match is None or int(match["port"] or 0) > 65_535:
        return None
    if match["v6"] is not None:
        return field[: field.index("]") + 1] if _is_ipv6(match["v6"]) else None
    name = match["name"]
    if _is_ipv4(name):
        return name
    return canonical(name) if is_host_name(name) else None


def _is_address(host: str) -> bool:
    return host.startswith("[") or _is_ipv4(host)


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    """Whether it is an IPv6 address without a zone (`%eth0`), which means something on
    one machine only.
    """
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return "%" not in text
