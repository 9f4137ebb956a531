"""The few rules that nft cannot write, as messages that `kernel.nf_tables` encodes.

ICMP error translation: an ICMP error quotes the packet that it is about. Towards a
guest the quoted source becomes the address that the error is sent to; from a guest the
quoted destination becomes the address that the error comes from. So a guest sees its
own address in what is quoted, and a hostile guest can report errors of its own flows
only. nft can write such a rule, but not its checksum update (NFTA_PAYLOAD_* of
linux/netfilter/nf_tables.h): for IPv4 that of the quoted header, which leaves ICMP's
own checksum right; for IPv6 that of ICMPv6, as a quoted IPv6 header has none.

The queue rule: kernels without CONFIG_NFT_QUEUE have no `queue` statement, but they
have the iptables target NFQUEUE, which nftables can carry and nft cannot write.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from vagent.datapath.names import (
    FROM_GUEST,
    QUEUE_CHAIN,
    TO_GUEST,
    TO_GUEST6,
    Names,
)
from vagent.datapath.rules.features import Features
from vagent.kernel.netlink import attribute
from vagent.kernel.nf_tables import (
    IPV4,
    IPV6,
    NETDEV,
    Expression,
    NftMessage,
    accept,
    insert_rule,
    xt_queue,
)

_INTO, _BASE, _OFFSET, _LENGTH, _FROM, _SUM_KIND, _SUM_OFFSET = range(1, 8)
_NETWORK, _TRANSPORT = 1, 2
_REGISTER, _INTERNET_CHECKSUM = 1, 1
_NUMBER = struct.Struct("!I")


class _Layout(NamedTuple):
    """The length of an address; offsets of the addresses from the start of the IP
    header; offsets of the quoted addresses, and of the checksum that covers them, from
    the start of the ICMP header. All in bytes.
    """

    length: int
    source: int
    destination: int
    quoted_source: int
    quoted_destination: int
    checksum: int


_LAYOUT4 = _Layout(4, 12, 16, 8 + 12, 8 + 16, 8 + 10)
_LAYOUT6 = _Layout(16, 8, 24, 8 + 8, 8 + 24, 2)


def netlink_rules(names: Names, features: Features) -> list[NftMessage]:
    """One transaction that inserts these rules into tables that were just replaced."""
    messages = _icmp_error_rules(names, IPV4, TO_GUEST, _LAYOUT4)
    if features.ipv6:
        messages += _icmp_error_rules(names, IPV6, TO_GUEST6, _LAYOUT6)
    if not features.nft_queue:
        queue = xt_queue(names.queue_number)
        for family in (IPV4, *[IPV6] * features.ipv6):
            messages += insert_rule(family, names.table, QUEUE_CHAIN, queue)
    return messages


def _icmp_error_rules(
    names: Names, family: int, to_guest: str, layout: _Layout
) -> list[NftMessage]:
    downwards = _copy(layout, layout.destination, layout.quoted_source)
    upwards = _copy(layout, layout.source, layout.quoted_destination)
    table = names.table
    return [
        *insert_rule(NETDEV, table, to_guest, *downwards),
        *insert_rule(family, table, FROM_GUEST, *upwards, accept()),
    ]


def _copy(layout: _Layout, address: int, quoted: int) -> tuple[Expression, ...]:
    """Load an address of the packet and store it over one that is quoted."""
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
