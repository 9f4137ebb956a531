"""Keys and values of the fast path's map of entries, as bytes and as values: pure.

An entry says for one direction of a flow how its packets are translated and where they
leave. The kernel's program reads it by the offsets that stand here.
"""

from __future__ import annotations

import socket
import struct
import sys
from ipaddress import IPv4Address
from typing import NamedTuple

KEY_SIZE, VALUE_SIZE = 24, 112

# Offsets in the value. Counters first: the program adds to them.
PACKETS, BYTES, CLOSED, OUT, MTU = 0, 8, 16, 20, 24
IP_DIFF, ADDRESS_DIFF, PORT_DIFF, ADDRESSES, NEW_PORTS = 28, 32, 36, 40, 48
NEXT_HOP, NEXT_HOP_SIZE, MACS, OTHER = 52, 20, 72, 88
_VALUE = struct.Struct("=QQIIIIII4s4s4sI4s12x12s4x24s")
_KEY = struct.Struct("=I6sBx4s4s4s")
_COUNTERS = struct.Struct("=QQI")


class Way(NamedTuple):
    """How a packet leaves: by an interface with this MTU (bytes of IP), towards the
    fabric to `next_hop`, towards a guest with these MAC addresses.
    """

    ifindex: int
    mtu: int
    next_hop: IPv4Address | None = None
    to_mac: bytes = bytes(6)
    from_mac: bytes = bytes(6)


class Pair(NamedTuple):
    """Addresses and ports of the packets of one direction."""

    source: IPv4Address
    destination: IPv4Address
    source_port: int
    destination_port: int

    @property
    def addresses(self) -> bytes:
        """Both as they stand in the header."""
        return self.source.packed + self.destination.packed

    @property
    def ports(self) -> bytes:
        """Both as they stand in the header."""
        return struct.pack("!HH", self.source_port, self.destination_port)

    def reversed(self) -> Pair:
        """The pair of the replies."""
        return Pair(
            self.destination, self.source, self.destination_port, self.source_port
        )


class Match(NamedTuple):
    """Which packets an entry is for: those with this pair and protocol that come in by
    an interface, from a MAC address. At the fabric's interface the MAC address is all
    zeros and does not count: routers may change.
    """

    ifindex: int
    mac: bytes
    protocol: int
    pair: Pair


class Count(NamedTuple):
    """What an entry has carried; `is_closed` says that its connection is ending."""

    packets: int
    bytes: int
    is_closed: bool


def encode_match(match: Match) -> bytes:
    """The key of an entry. The queue of candidates holds such keys, too."""
    pair = match.pair
    return _KEY.pack(
        match.ifindex,
        match.mac,
        match.protocol,
        pair.source.packed,
        pair.destination.packed,
        pair.ports,
    )


def decode_match(key: bytes) -> Match:
    """Read a key of KEY_SIZE bytes."""
    ifindex, mac, protocol, source, destination, ports = _KEY.unpack(key)
    pair = Pair(
        IPv4Address(source), IPv4Address(destination), *struct.unpack("!HH", ports)
    )
    return Match(ifindex, mac, protocol, pair)


def encode_entry(old: Pair, new: Pair, way: Way, other: bytes) -> bytes:
    """The value of a new entry that makes packets of pair `new` out of those of `old`;
    `other` is the key of the entry for the other direction.
    """
    addresses = _difference(old.addresses, new.addresses)
    return _VALUE.pack(
        0,
        0,
        0,
        way.ifindex,
        way.mtu,
        _folded(_folded(addresses + _one_hop_less(), 32), 16),
        addresses,
        _difference(old.ports, new.ports),
        new.source.packed,
        new.destination.packed,
        new.ports,
        socket.AF_INET,
        bytes(4) if way.next_hop is None else way.next_hop.packed,
        way.to_mac + way.from_mac,
        other,
    )


def decode_count(value: bytes) -> Count:
    """Read the counters of an entry of VALUE_SIZE bytes."""
    packets, count, closed = _COUNTERS.unpack_from(value)
    return Count(packets, count, bool(closed))


def _difference(old: bytes, new: bytes) -> int:
    """By how much a checksum grows, in ones' complement (RFC 1624)."""
    words = struct.Struct(f"={len(old) // 4}I")
    grown = sum(word ^ 0xFFFFFFFF for word in words.unpack(old))
    return _folded(grown + sum(words.unpack(new)), 32)


def _one_hop_less() -> int:
    """The same for the word with the time to live, when that becomes one less."""
    return 0xFFFFFFFF ^ int.from_bytes(b"\1\0", sys.byteorder)


def _folded(number: int, bits: int) -> int:
    while number >> bits:
        number = (number & (1 << bits) - 1) + (number >> bits)
    return number
