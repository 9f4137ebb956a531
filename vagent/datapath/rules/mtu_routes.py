"""Routes to guests whose tap has another MTU than the usual one, as iproute2 commands.

The veth pair to the taps carries packets of any length; how long one to a guest
may be stands in the route, so the kernel above fragments it or says that it does not
fit. The kernel honours that in what it forwards over IPv4, and over IPv6 where the MTU
is locked. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from vagent.datapath.names import Names
from vagent.datapath.state import USUAL_MTU, Attachment

PROTOCOL = 186
"""Who made a route (/etc/iproute2/rt_protos), so that ours are known again."""
_INDEX_PREFIX6 = 48
"""Bits of an IPv6 identity up to the end of its index: its registered and its
link-local form have them in common."""


def flush(names: Names) -> str:
    """Take all of one IP version out, whoever made them."""
    return f"route flush dev {names.inner_side} proto {PROTOCOL}\n"


def routes(
    names: Names,
    gone: Iterable[Attachment],
    come: Iterable[Attachment],
    *,
    ipv6: bool,
) -> str:
    """Take out what has gone, and put in what has come; "" for nothing."""
    lines = [
        f"route del {each}" for one in gone for each in _destinations(one, ipv6=ipv6)
    ]
    lines += [
        f"route replace {each} dev {names.inner_side} proto {PROTOCOL} {size}"
        for one in come
        for each, size in zip(
            _destinations(one, ipv6=ipv6),
            (f"mtu {one.mtu}", f"mtu lock {one.mtu}"),
            strict=False,
        )
    ]
    return "".join(f"{line}\n" for line in lines)


def _destinations(attachment: Attachment, *, ipv6: bool) -> list[str]:
    if attachment.mtu == USUAL_MTU:
        return []
    six = ip_network((int(attachment.identity6), _INDEX_PREFIX6), strict=False)
    return [f"{attachment.identity}/32", *[str(six)] * ipv6]
