"""A port's identities above the tap for IPv6: pure arithmetic on its index.

A guest speaks IPv6 from its registered address or from its link-local one, which nobody
registers. The first becomes `<prefix>:<index>::1`. Of the second only the upper half is
replaced, by `<prefix>:<index>:<complement of index>`, so the agent can tell it again
and an answer goes back to exactly that address. The sixteen-bit words of this half add
up to 0xfe80 as those of fe80::/64 do, so no checksum changes with it (RFC 6296 3.1).

The prefix is a /32 of unique local addresses (RFC 4193) that never leaves the host. It
follows from the IPv4 identity range, so two agents of one host have two.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Network, IPv6Address, IPv6Network

LINK_LOCAL = IPv6Network("fe80::/64")
"""What guests use of fe80::/10 (RFC 4291 2.5.6)."""

_LINK_LOCAL = int(LINK_LOCAL.network_address)
_SUM = _LINK_LOCAL >> 112
_UNIQUE_LOCAL = 0xFD00
_WORD = 0xFFFF
_LOWER_HALF = (1 << 64) - 1
_REGISTERED = 1
"""Lower half of the identity of a registered address; the word above it is 0, which is
the complement of no index."""


@dataclass(frozen=True, slots=True)
class Identity6:
    """Whose an identity is. `link_local` is the guest's own link-local address, None
    where the identity stands for its registered one.
    """

    index: int
    link_local: IPv6Address | None


def prefix_of(start: int) -> int:
    """The first 32 bits of the identities beside an IPv4 identity range that begins at
    `start`: its third octet is in them (169.254.64.0 gives fd40:140::/32).
    """
    first = _UNIQUE_LOCAL | start >> 8 & 0xFF
    return first << 16 | _SUM - first


def network_of(network: IPv4Network) -> IPv6Network:
    """The same as a network."""
    return IPv6Network((prefix_of(int(network.network_address)) << 96, 32))


def identity_of(prefix: int, index: int) -> IPv6Address:
    """The identity of an index's registered address; the agent's own for its index."""
    return IPv6Address(prefix << 96 | index << 80 | _REGISTERED)


def link_local_word(index: int) -> int:
    """Third and fourth word of the identity of an index's link-local address."""
    return index << 16 | index ^ _WORD


def read(prefix: int, identity: int) -> Identity6 | None:
    """What an address stands for, None where it is nobody's identity."""
    if identity >> 96 != prefix:
        return None
    index, check = identity >> 80 & _WORD, identity >> 64 & _WORD
    low = identity & _LOWER_HALF
    if check == index ^ _WORD:
        return Identity6(index, IPv6Address(_LINK_LOCAL | low))
    if check == 0 and low == _REGISTERED:
        return Identity6(index, None)
    return None


def read_text(prefix: int, peer: str) -> Identity6 | None:
    """The same for an address as a socket spells it."""
    try:
        return read(prefix, int(IPv6Address(peer)))
    except AddressValueError:
        return None
