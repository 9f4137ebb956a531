"""Keys and entries of the fast path's maps, and that their sums are right."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from vagent.datapath.tap.flow_entry import (
    KEY_SIZE,
    VALUE_SIZE,
    Match,
    Pair,
    Way,
    decode_count,
    decode_match,
    encode_entry,
    encode_match,
)

PORTS = st.integers(0, 65535)
PAIRS = st.builds(Pair, st.ip_addresses(v=4), st.ip_addresses(v=4), PORTS, PORTS)
WAY = Way(3, 1500, IPv4Address("192.0.2.1"), bytes(6), bytes(range(6)))


def added(data: bytes) -> int:
    """The ones' complement sum of 16-bit words (RFC 1071) as the machine reads."""
    total: int = sum(struct.unpack(f"={len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def same(one: int, other: int) -> bool:
    """Of two sums: zero has two forms."""
    return one % 0xFFFF == other % 0xFFFF


@given(st.integers(0, 2**32 - 1), st.binary(min_size=6, max_size=6), PORTS, PAIRS)
def test_a_match_is_read_as_it_was_written(
    ifindex: int, mac: bytes, protocol: int, pair: Pair
) -> None:
    match = Match(ifindex, mac, protocol & 0xFF, pair)
    key = encode_match(match)
    assert len(key) == KEY_SIZE
    assert decode_match(key) == match


@given(PAIRS, PAIRS, st.integers(2, 255))
def test_sums_grow_by_what_changes(old: Pair, new: Pair, ttl: int) -> None:
    """The header's by the addresses and one hop; TCP's by addresses and ports."""
    entry = encode_entry(old, new, WAY, bytes(KEY_SIZE))
    assert len(entry) == VALUE_SIZE
    header, addresses, ports = struct.unpack_from("=III", entry, 28)
    before = added(bytes((ttl, 6)) + old.addresses)
    assert same(before + header, added(bytes((ttl - 1, 6)) + new.addresses))
    assert header <= 0xFFFF  # the program folds but twice
    assert same(added(old.addresses) + addresses, added(new.addresses))
    assert same(added(old.ports) + ports, added(new.ports))


def test_an_entry_begins_with_what_it_has_seen() -> None:
    pair = Pair(IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"), 1, 2)
    entry = encode_entry(pair, pair.reversed(), WAY, bytes(KEY_SIZE))
    assert decode_count(entry) == (0, 0, False)
    assert decode_count(struct.pack("=QQI", 5, 700, 1) + entry[20:]) == (5, 700, True)
