"""IPv6 identities: whose, and back again; no checksum changes."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.ports import identity6
from vagent.ports.identity6 import Identity6

NETWORK = IPv4Network("169.254.64.0/18")
PREFIX = 0xFD400140
INDEXES = st.integers(0, 0xFFFE)
PREFIXES = st.integers(0, 0xFF).map(lambda octet: identity6.prefix_of(octet << 8))


def total(data: bytes) -> int:
    """The Internet checksum's sum (RFC 1071)."""
    value: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return value % 0xFFFF


def link_local_identity(prefix: int, index: int, low: int) -> int:
    """As the rules at the tap make it."""
    return prefix << 96 | identity6.link_local_word(index) << 64 | low


def test_the_prefix_follows_from_the_identity_range() -> None:
    """Two agents of one host have two."""
    assert PREFIX == identity6.prefix_of(int(NETWORK.network_address))
    assert "fd40:140::/32" == str(identity6.network_of(NETWORK))
    other = IPv4Network("169.254.128.0/18")
    assert identity6.network_of(other) != identity6.network_of(NETWORK)


def test_every_prefix_is_unique_local() -> None:
    """fd00::/8 (RFC 4193), whatever the range."""
    for octet in range(256):
        address = IPv6Address(identity6.prefix_of(octet << 8) << 96)
        assert address.is_private
        assert 0xFD == address.packed[0]


@given(PREFIXES, INDEXES)
def test_a_registered_address_has_one_identity(prefix: int, index: int) -> None:
    """Read back, and in the prefix."""
    identity = identity6.identity_of(prefix, index)
    assert Identity6(index, None) == identity6.read(prefix, int(identity))
    assert Identity6(index, None) == identity6.read_text(prefix, str(identity))


@given(PREFIXES, INDEXES, st.integers(0, (1 << 64) - 1))
def test_a_link_local_address_is_read_back(prefix: int, index: int, low: int) -> None:
    """Exactly, whatever its lower half."""
    found = identity6.read(prefix, link_local_identity(prefix, index, low))
    own = IPv6Address(int(IPv6Address("fe80::")) | low)
    assert Identity6(index, own) == found


@given(PREFIXES, INDEXES, st.integers(0, (1 << 64) - 1))
def test_no_checksum_changes(prefix: int, index: int, low: int) -> None:
    """The sum of the address is that of the guest's own."""
    own = int(IPv6Address("fe80::")) | low
    identity = link_local_identity(prefix, index, low)
    assert total(own.to_bytes(16)) == total(identity.to_bytes(16))


@given(PREFIXES, st.integers(0, (1 << 128) - 1))
def test_any_number_is_read_or_is_nobody(prefix: int, number: int) -> None:
    """What is read is written the same again."""
    found = identity6.read(prefix, number)
    if found is None:
        return
    low = number & ((1 << 64) - 1)
    assert number == link_local_identity(prefix, found.index, low)


@pytest.mark.parametrize(
    "peer",
    [
        "fd40:140:2::2",
        "fd40:140:2:1::1",
        "fd40:141:2::1",
        "fe80::1",
        "169.254.64.2",
        "fe80::1%vagent1",
        "",
        "nonsense",
    ],
)
def test_what_is_nobodys(peer: str) -> None:
    """Another prefix, a wrong complement, no address."""
    assert identity6.read_text(PREFIX, peer) is None


def test_the_first_guest_by_example() -> None:
    """As an operator sees it."""
    assert "fd40:140:2::1" == str(identity6.identity_of(PREFIX, 2))
    own = IPv6Address("fe80::5054:ff:fe12:3456")
    found = identity6.read_text(PREFIX, "fd40:140:2:fffd:5054:ff:fe12:3456")
    assert Identity6(2, own) == found
    assert 2 == int(IPv4Address("169.254.64.2")) - int(NETWORK.network_address)
