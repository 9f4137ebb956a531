"""Identity addresses: which index each has, and back again; no checksum changes."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.ports.identity import (
    identity6_of,
    index_of,
    link_local_of,
    link_local_word,
    network6_of,
    prefix6_of,
    read_identity,
)

NETWORK = IPv4Network("169.254.64.0/18")
START = int(NETWORK.network_address)
INDEXES = st.integers(0, 0xFFFE)
STARTS = st.integers(0, 0xFF).map(lambda octet: START & 0xFFFF0000 | octet << 8)
LOWER_HALVES = st.integers(0, (1 << 64) - 1)


def total(data: bytes) -> int:
    """The Internet checksum's sum (RFC 1071)."""
    value: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return value % 0xFFFF


def link_local_identity(start: int, index: int, low: int) -> int:
    """As the rules at the tap make it."""
    return prefix6_of(start) << 96 | link_local_word(index) << 64 | low


@pytest.mark.parametrize(
    ("address", "index"),
    [
        ("169.254.63.255", -1),
        ("169.254.64.0", 0),
        ("169.254.64.1", 1),
        ("169.254.64.2", 2),
        ("169.254.127.255", 16383),
        ("169.255.63.255", 0xFFFF),
        ("169.255.64.0", -1),
    ],
)
def test_index_n_is_the_nth_address(address: str, index: int) -> None:
    """From the first address of the range on, as far as 16 bits count."""
    assert index == index_of(int(IPv4Address(address)), 4, START)
    assert (index, None) == read_identity(address, START)


def test_an_ipv6_address_is_not_taken_for_an_ipv4_one() -> None:
    """Not even one whose number is that of an IPv4 identity."""
    assert -1 == index_of(START + 2, 6, START)
    assert (-1, None) == read_identity("::169.254.64.2", START)


def test_the_prefix_follows_from_the_identity_range() -> None:
    """Two agents of one host have two."""
    assert 0xFD400140 == prefix6_of(START)
    assert "fd40:140::/32" == str(network6_of(NETWORK))
    other = IPv4Network("169.254.128.0/18")
    assert network6_of(other) != network6_of(NETWORK)


def test_every_prefix_is_unique_local() -> None:
    """fd00::/8 (RFC 4193), whatever the range."""
    for octet in range(256):
        address = IPv6Address(prefix6_of(octet << 8) << 96)
        assert address.is_private
        assert 0xFD == address.packed[0]


@given(STARTS, INDEXES)
def test_a_registered_address_has_one_identity(start: int, index: int) -> None:
    """Its index is read back, and it stands for no link-local address."""
    identity = identity6_of(index, start)
    assert index == index_of(int(identity), 6, start)
    assert (index, None) == read_identity(str(identity), start)
    assert link_local_of(identity) is None


@given(STARTS, INDEXES, LOWER_HALVES)
def test_a_link_local_address_is_read_back(start: int, index: int, low: int) -> None:
    """Exactly, whatever its lower half."""
    identity = link_local_identity(start, index, low)
    assert index == index_of(identity, 6, start)
    own = IPv6Address(int(IPv6Address("fe80::")) | low)
    assert own == link_local_of(IPv6Address(identity))
    assert (index, own) == read_identity(str(IPv6Address(identity)), start)


@given(STARTS, INDEXES, LOWER_HALVES)
def test_no_checksum_changes(start: int, index: int, low: int) -> None:
    """The sum of the address is that of the guest's own."""
    own = int(IPv6Address("fe80::")) | low
    identity = link_local_identity(start, index, low)
    assert total(own.to_bytes(16)) == total(identity.to_bytes(16))


@given(STARTS, INDEXES, st.integers(0, 0xFFFF), LOWER_HALVES)
def test_only_two_words_may_follow_an_index(
    start: int, index: int, word: int, low: int
) -> None:
    """Its complement, or 0 before the lower half of a registered address."""
    number = (prefix6_of(start) << 32 | index << 16 | word) << 64 | low
    has_index = word == index ^ 0xFFFF or (word, low) == (0, 1)
    assert (index if has_index else -1) == index_of(number, 6, start)


@pytest.mark.parametrize(
    "peer",
    [
        "fd40:140:2::2",
        "fd40:140:2:1::1",
        "fd40:141:2::1",
        "fe80::1",
        "fe80::1%vagent1",
        "169.254.64",
        "10.0.0.5",
        "",
        "nonsense",
    ],
)
def test_what_is_no_identity(peer: str) -> None:
    """Another prefix, a wrong complement, no address."""
    assert (-1, None) == read_identity(peer, START)


def test_the_first_guest_by_example() -> None:
    """As an operator sees it."""
    assert "fd40:140:2::1" == str(identity6_of(2, START))
    identity = IPv6Address("fd40:140:2:fffd:5054:ff:fe12:3456")
    assert 2 == index_of(int(identity), 6, START)
    assert IPv6Address("fe80::5054:ff:fe12:3456") == link_local_of(identity)
