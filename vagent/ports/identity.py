"""The identity addresses that stand for guests above the tap: pure arithmetic.

A guest's address has an index, and index n is the n-th address of the IPv4 identity
range. For IPv6 there is a /32 of unique local addresses (RFC 4193) beside the range,
whose third octet is in it, so two agents of one host have two; it never leaves the
host. A guest's registered IPv6 address becomes `<prefix>:<index>::1`. Of its link-local
address, which nobody registers, the upper half becomes `<prefix>:<index>:<~index>` and
the lower half stays, so a reply goes back to exactly that address. The sixteen-bit
words of that upper half add up to 0xfe80 as those of fe80::/64 do, so no checksum
changes (RFC 6296 3.1).

`start` is the first address of the IPv4 range. Addresses are integers where this is
called for each packet.
"""

from __future__ import annotations

from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)

AGENT_INDEX = 1
"""Index of the agent's own identity address, where it listens; guests follow."""
MAX_INDEX = 0xFFFF
"""An index has 16 bits: the lower half of a flow's mark."""
LINK_LOCAL = IPv6Network("fe80::/64")
"""What guests use of fe80::/10 (RFC 4291 2.5.6)."""

_LINK_LOCAL = int(LINK_LOCAL.network_address)
_SUM = _LINK_LOCAL >> 112
_UNIQUE_LOCAL = 0xFD00
_LOWER_HALF = (1 << 64) - 1
_REGISTERED = 1
"""Lower half of the identity of a registered address; the word above it is 0, which is
the complement of no index."""


def index_of(identity: int, version: int, start: int) -> int:
    """The index that an identity address of this IP version stands for, -1 where it is
    no identity. That there is an index does not mean that a guest has it.
    """
    if version == 4:
        index = identity - start
        return index if 0 <= index <= MAX_INDEX else -1
    if identity >> 96 != prefix6_of(start):
        return -1
    index, complement = identity >> 80 & MAX_INDEX, identity >> 64 & MAX_INDEX
    if complement == index ^ MAX_INDEX:
        return index
    return index if identity & _LOWER_HALF == _REGISTERED and not complement else -1


def read_identity(text: str, start: int) -> tuple[int, IPv6Address | None]:
    """The index of an identity address, given as the text of a socket's peer address,
    or -1 for any other text; and the guest's own link-local address, where the identity
    stands for one.
    """
    try:
        if ":" not in text:
            return index_of(int(IPv4Address(text)), 4, start), None
        address = IPv6Address(text)
    except AddressValueError:
        return -1, None
    index = index_of(int(address), 6, start)
    return index, None if index < 0 else link_local_of(address)


def link_local_of(identity: IPv6Address) -> IPv6Address | None:
    """The guest's own link-local address behind an identity that has an index; None
    where that stands for the registered address.
    """
    if int(identity) >> 64 & MAX_INDEX == 0:
        return None
    return IPv6Address(_LINK_LOCAL | int(identity) & _LOWER_HALF)


def identity6_of(index: int, start: int) -> IPv6Address:
    """The identity of the registered IPv6 address with this index."""
    return IPv6Address(prefix6_of(start) << 96 | index << 80 | _REGISTERED)


def network6_of(network: IPv4Network) -> IPv6Network:
    """The /32 of the IPv6 identities beside an IPv4 identity range."""
    return IPv6Network((prefix6_of(int(network.network_address)) << 96, 32))


def prefix6_of(start: int) -> int:
    """Its 32 bits: 169.254.64.0 gives fd40:140::/32."""
    first = _UNIQUE_LOCAL | start >> 8 & 0xFF
    return first << 16 | _SUM - first


def link_local_word(index: int) -> int:
    """Third and fourth word of the identity of a link-local address."""
    return index << 16 | index ^ MAX_INDEX
