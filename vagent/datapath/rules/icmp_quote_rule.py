"""The rules that give the packet inside an ICMP error the address it really has.

An error quotes the packet that it is about. On its way to a guest, what it quotes is
from the address that the error goes to; on its way from a guest, to the one that it
comes from: so one address is copied over the other, and whatever a hostile guest quotes
is about its own flows. nft writes such a rule but not its checksum: that of the quoted
IPv4 header, which leaves the one of ICMP as it was, or that of ICMPv6, as IPv6 has no
other. So these are written as netlink bytes (NFTA_PAYLOAD_* of
linux/netfilter/nf_tables.h), at the head of chains that are there for them.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from vagent.datapath.names import FROM_GUEST, TO_GUEST, TO_GUEST6, Names
from vagent.kernel.netlink import attribute
from vagent.kernel.nf_tables import (
    IPV4,
    IPV6,
    NETDEV,
    Expression,
    Step,
    accept,
    insert_rule,
)

_INTO, _BASE, _OFFSET, _LENGTH, _FROM, _SUM_KIND, _SUM_OFFSET = range(1, 8)
_NETWORK, _TRANSPORT = 1, 2
_REGISTER, _INTERNET_CHECKSUM = 1, 1
_NUMBER = struct.Struct("!I")


class _Layout(NamedTuple):
    """Bytes from the beginning of the IP header to its addresses, from that of the ICMP
    header to the quoted ones and to the checksum that covers them.
    """

    length: int
    source: int
    destination: int
    quoted_source: int
    quoted_destination: int
    checksum: int


_LAYOUT4 = _Layout(4, 12, 16, 8 + 12, 8 + 16, 8 + 10)
_LAYOUT6 = _Layout(16, 8, 24, 8 + 8, 8 + 24, 2)


def quote_rules(names: Names, *, ipv6: bool) -> list[Step]:
    """What makes them, in tables that were just made. `ipv6` says whether this host
    carries it.
    """
    table = names.table
    families = [(IPV4, TO_GUEST, _LAYOUT4)]
    if ipv6:
        families.append((IPV6, TO_GUEST6, _LAYOUT6))
    steps: list[Step] = []
    for family, to_guest, layout in families:
        steps += insert_rule(NETDEV, table, to_guest, *_to_guest(layout))
        steps += insert_rule(family, table, FROM_GUEST, *_from_guest(layout), accept())
    return steps


def _to_guest(layout: _Layout) -> tuple[Expression, ...]:
    return _copy(layout, layout.destination, layout.quoted_source)


def _from_guest(layout: _Layout) -> tuple[Expression, ...]:
    return _copy(layout, layout.source, layout.quoted_destination)


def _copy(layout: _Layout, address: int, quoted: int) -> tuple[Expression, ...]:
    length = _field(_LENGTH, layout.length)
    load = (
        _field(_INTO, _REGISTER)
        + _field(_BASE, _NETWORK)
        + _field(_OFFSET, address)
        + length
    )
    store = (
        _field(_FROM, _REGISTER)
        + _field(_BASE, _TRANSPORT)
        + _field(_OFFSET, quoted)
        + length
        + _field(_SUM_KIND, _INTERNET_CHECKSUM)
        + _field(_SUM_OFFSET, layout.checksum)
    )
    return Expression("payload", load), Expression("payload", store)


def _field(kind: int, value: int) -> bytes:
    return attribute(kind, _NUMBER.pack(value))
