"""Asks the kernel, by rtnetlink, how it would forward a guest's packet, and sets routes
to single addresses.

Only plain forwarding over Ethernet counts as an answer: no tunnels, no IPsec. Every
kernel that the agent runs on has all of this.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Collection, Container, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from vagent.errors import KernelError
from vagent.kernel.netlink import (
    NETLINK_ROUTE,
    NETLINK_XFRM,
    NLM_CREATE,
    NLM_REPLACE,
    NLM_REQUEST,
    ask,
    attribute,
    attributes_in,
    message,
    messages,
    transact_batch,
)

_NEW_LINK, _GET_LINK = 16, 18
_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE = 24, 25, 26
_ROUTE = struct.Struct("=BBBBBBBBI")
_DESTINATION, _SOURCE, _IN, _OUT, _GATEWAY, _METRICS = 1, 2, 3, 4, 5, 8
_PREFERRED_SOURCE = 7
_VIA, _ENCAPSULATION = 18, 22
_METRIC_MTU = 2
_UNICAST, _LOCAL = 1, 2
_LINK = struct.Struct("=BxHiII")
_ETHERNET, _UP = 1, 1
_LINK_MTU = 4
_GET_POLICIES, _NEW_POLICIES = 0x25, 0x24
_POLICY_COUNTS = struct.Struct("=6I")
_MAIN_TABLE, _BY_KERNEL, _ON_LINK, _NOWHERE = 254, 2, 253, 255
"""Table; protocol; scopes (linux/rtnetlink.h)."""
_MANY = 1000
"""Routes in one batch; the kernel handles a batch without a break."""
_MAX_TOLD = 3
_GONE = (errno.ESRCH, errno.ENODEV)
"""The kernel's answers where there is no such route, or no such interface."""


class Hop(NamedTuple):
    """How a packet is forwarded: the interface by which it leaves, the next hop there,
    and the MTU in bytes of IP.
    """

    ifindex: int
    next_hop: IPv4Address
    mtu: int


class AddressRoute(NamedTuple):
    """A route to one address, by way of an interface on which it is a neighbour.
    `mtu` is in bytes of IP; this host sends from the address `source`, unless it is
    None.
    """

    destination: IPv4Address | IPv6Address
    ifindex: int
    mtu: int
    source: IPv4Address | IPv6Address | None = None


def set_address_routes(routes: Collection[AddressRoute]) -> None:
    """Set routes, each in the place of one to the same address. All are tried; raises
    KernelError where one is refused.
    """
    _change(
        [
            message(
                _NEW_ROUTE,
                NLM_REQUEST | NLM_CREATE | NLM_REPLACE,
                _address_route(each),
                sequence=number,
            )
            for number, each in enumerate(routes)
        ],
        [each.destination for each in routes],
    )


def delete_address_routes(
    destinations: Collection[IPv4Address | IPv6Address], ifindex: int
) -> None:
    """Delete the routes to these addresses by way of this interface, where they are.
    All are tried; raises KernelError where one is refused.
    """
    _change(
        [
            message(
                _DELETE_ROUTE,
                NLM_REQUEST,
                _ROUTE.pack(
                    *_family_and_length(each), 0, 0, _MAIN_TABLE, 0, _NOWHERE, 0, 0
                )
                + attribute(_DESTINATION, each.packed)
                + attribute(_OUT, struct.pack("=I", ifindex)),
                sequence=number,
            )
            for number, each in enumerate(destinations)
        ],
        list(destinations),
        but=_GONE,
    )


def hop(source: IPv4Address, destination: IPv4Address, came_in: int) -> Hop | None:
    """How a packet that came in at an interface is forwarded; None unless that is plain
    forwarding over Ethernet. Raises KernelError.
    """
    found = _route(source, destination, came_in)
    if found is None:
        return None
    ifindex, gateway, limit = found
    mtu = link_mtu(ifindex)
    if mtu is None:
        return None
    return Hop(ifindex, gateway or destination, min(mtu, limit or mtu))


def is_local(address: IPv4Address) -> bool:
    """Does this host take packets to the address for its own? Raises KernelError."""
    payload = _ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0)
    payload += attribute(_DESTINATION, address.packed)
    answer = ask(message(_GET_ROUTE, NLM_REQUEST, payload), "route", NETLINK_ROUTE)
    return any(
        kind == _NEW_ROUTE
        and len(body) >= _ROUTE.size
        and _ROUTE.unpack_from(body)[7] == _LOCAL
        for kind, body in messages(answer)
    )


def has_ipsec() -> bool:
    """Has this host any IPsec policy? Packets of the fast path would evade it. Raises
    KernelError.
    """
    question = message(_GET_POLICIES, NLM_REQUEST, bytes(4))
    try:
        answer = ask(question, "IPsec policies", NETLINK_XFRM)
    except OSError:
        return False  # this kernel has no IPsec
    for kind, body in messages(answer):
        if kind == _NEW_POLICIES:
            for counts in attributes_in(body[4:]).values():
                if len(counts) == _POLICY_COUNTS.size:
                    return any(_POLICY_COUNTS.unpack(counts)[:3])
    return True


def _address_route(route: AddressRoute) -> bytes:
    header = _ROUTE.pack(
        *_family_and_length(route.destination),
        *(0, 0, _MAIN_TABLE, _BY_KERNEL, _ON_LINK, _UNICAST, 0),
    )
    source = b""
    if route.source is not None:
        source = attribute(_PREFERRED_SOURCE, route.source.packed)
    mtu = attribute(_METRIC_MTU, struct.pack("=I", route.mtu))
    return (
        header
        + attribute(_DESTINATION, route.destination.packed)
        + attribute(_OUT, struct.pack("=I", route.ifindex))
        + source
        + attribute(_METRICS, mtu)
    )


def _family_and_length(address: IPv4Address | IPv6Address) -> tuple[int, int]:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return family, address.max_prefixlen


def _change(
    changes: Sequence[bytes],
    destinations: Sequence[IPv4Address | IPv6Address],
    but: Container[int] = (),
) -> None:
    """Send the messages. The kernel answers those alone that it refuses."""
    refused: list[str] = []
    for start in range(0, len(changes), _MANY):
        for answer in transact_batch(
            b"".join(changes[start : start + _MANY]), NETLINK_ROUTE
        ):
            if answer.code and answer.code not in but:
                name = errno.errorcode.get(answer.code, str(answer.code))
                refused.append(
                    f"{destinations[answer.sequence]}: the kernel says {name}"
                    f" ({os.strerror(answer.code)})"
                )
    if refused:
        more = len(refused) - _MAX_TOLD
        refused[_MAX_TOLD:] = [f"{more} more"] if more > 0 else []
        raise KernelError(f"route to {'; '.join(refused)}")


def _route(
    source: IPv4Address, destination: IPv4Address, came_in: int
) -> tuple[int, IPv4Address | None, int] | None:
    """Outgoing interface, gateway, and the MTU of the route, 0 where it has none."""
    payload = _ROUTE.pack(socket.AF_INET, 32, 32, 0, 0, 0, 0, 0, 0)
    payload += attribute(_DESTINATION, destination.packed)
    payload += attribute(_SOURCE, source.packed)
    payload += attribute(_IN, struct.pack("=I", came_in))
    answer = ask(message(_GET_ROUTE, NLM_REQUEST, payload), "route", NETLINK_ROUTE)
    for kind, body in messages(answer):
        if kind != _NEW_ROUTE or len(body) < _ROUTE.size:
            continue
        found = attributes_in(body[_ROUTE.size :])
        if (
            _ROUTE.unpack_from(body)[7] != _UNICAST
            or _VIA in found
            or _ENCAPSULATION in found
        ):
            return None
        gateway = found.get(_GATEWAY)
        metrics = attributes_in(found.get(_METRICS, b""))
        return (
            _number(found.get(_OUT)),
            None if gateway is None else IPv4Address(gateway),
            _number(metrics.get(_METRIC_MTU)),
        )
    return None


def link_mtu(ifindex: int) -> int | None:
    """The MTU of an Ethernet interface, in bytes of IP; None where it is of another
    kind, or down. Raises KernelError.
    """
    payload = _LINK.pack(socket.AF_UNSPEC, 0, ifindex, 0, 0)
    answer = ask(message(_GET_LINK, NLM_REQUEST, payload), "link", NETLINK_ROUTE)
    for kind, body in messages(answer):
        if kind == _NEW_LINK and len(body) >= _LINK.size:
            _, hardware, _, flags, _ = _LINK.unpack_from(body)
            if hardware == _ETHERNET and flags & _UP:
                found = attributes_in(body[_LINK.size :])
                return _number(found.get(_LINK_MTU)) or None
    return None


def _number(data: bytes | None) -> int:
    return int.from_bytes(data, sys.byteorder) if data and len(data) == 4 else 0
