"""Keys and values of the tap programs' maps: what is written is read again, and stands
where the programs look for it.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.datapath.tap import layout
from vagent.datapath.tap.layout import (
    DropReason,
    Guest,
    GuestFlag,
    GuestPlace,
    IdentityEntry,
    Refused,
    Reply,
    TapProbe,
)

BITS16, BITS32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
BITS64 = st.integers(0, 2**64 - 1)
MACS = st.binary(min_size=6, max_size=6)
ADDRESSES = st.one_of(
    st.ip_addresses(v=4), st.integers(1 << 48, 2**128 - 1).map(IPv6Address)
)
DROPS = st.tuples(*[BITS64] * layout.REASONS)
MAC = bytes.fromhex("020000000001")
FOUR, SIX = IPv4Address("10.0.0.5"), IPv6Address("2001:db8::5")


@given(
    st.builds(
        GuestPlace, BITS32, BITS16, MACS, st.none() | ADDRESSES, st.integers(0, 15)
    )
)
def test_a_place_is_read_as_it_was_written(place: GuestPlace) -> None:
    key = layout.encode_place(place)
    assert len(key) == layout.PLACE_SIZE
    assert layout.decode_place(key) == place


def test_the_unspecified_ipv6_address_of_a_place_is_read_as_one() -> None:
    """A solicitation from :: is refused with that address."""
    place = GuestPlace(3, 0, MAC, IPv6Address("::"), DropReason.CLAIMED)
    assert layout.decode_place(layout.encode_place(place)) == place


@pytest.mark.parametrize(
    ("address", "family", "packed"),
    [
        (None, 0, bytes(16)),
        (FOUR, 4, IPv6Address("::ffff:10.0.0.5").packed),
        (SIX, 6, SIX.packed),
    ],
)
def test_a_place_is_laid_out_as_the_program_writes_it(
    address: layout.Address | None, family: int, packed: bytes
) -> None:
    key = layout.encode_place(GuestPlace(7, 0x8005, MAC, address, DropReason.SPOOFED))
    assert struct.unpack_from("=I", key, layout.PLACE_IFINDEX) == (7,)
    assert struct.unpack_from("=H", key, layout.PLACE_VLAN) == (0x8005,)
    assert key[layout.PLACE_FAMILY] == family
    assert key[layout.PLACE_REASON] == DropReason.SPOOFED
    assert key[layout.PLACE_MAC : layout.PLACE_ADDRESS] == MAC + bytes(2)
    assert key[layout.PLACE_ADDRESS :] == packed


@given(BITS32, ADDRESSES)
def test_an_identity_is_read_as_it_was_written(
    index: int, address: layout.Address
) -> None:
    value = layout.encode_identity(IdentityEntry(index, address))
    assert len(value) == layout.IDENTITY_SIZE
    assert layout.decode_identity(value) == IdentityEntry(index, address)
    assert struct.unpack_from("=I", value, layout.IDENTITY_INDEX) == (index,)
    assert value[layout.IDENTITY_ADDRESS :] == layout.encode_address(address)


@given(BITS32, BITS16, MACS)
def test_the_key_of_a_guest_is_the_beginning_of_its_place_without_family(
    ifindex: int, vlan: int, mac: bytes
) -> None:
    key = layout.encode_guest_key(ifindex, vlan, mac)
    assert len(key) == layout.GUEST_KEY_SIZE
    assert layout.decode_guest_key(key) == (ifindex, vlan, mac)
    place = layout.encode_place(GuestPlace(ifindex, vlan, mac, None))
    assert key == place[:6] + place[8:14]


@given(
    st.builds(
        Guest,
        BITS32,
        st.sampled_from([GuestFlag(number) for number in range(4)]),
        BITS16,
        BITS64,
        BITS64,
        st.none() | ADDRESSES,
        DROPS,
    )
)
def test_a_guest_is_read_as_it_was_written(guest: Guest) -> None:
    value = layout.encode_guest(guest)
    assert len(value) == layout.GUEST_SIZE
    assert layout.decode_guest(value) == guest
    for form, offset, expected in (
        ("=I", layout.GUEST_INDEX, guest.index),
        ("=H", layout.GUEST_FLAGS, guest.flags),
        ("=H", layout.GUEST_VLAN_GOT, guest.vlan_got),
        ("=Q", layout.GUEST_PACKETS, guest.packets),
        ("=Q", layout.GUEST_LAST, guest.last),
        ("=Q", layout.GUEST_DROPS + 8 * DropReason.SPOOFED, guest.drops[2]),
    ):
        assert struct.unpack_from(form, value, offset) == (expected,)
    address = layout.encode_address(guest.last_address)
    assert value[layout.GUEST_LAST_ADDRESS : layout.GUEST_DROPS] == address


def test_a_new_guest_has_counted_nothing() -> None:
    assert layout.encode_guest(Guest(0)) == bytes(layout.GUEST_SIZE)


@given(
    st.builds(
        Reply,
        BITS32,
        BITS32,
        MACS,
        BITS16,
        st.none() | st.ip_addresses(v=4),
        st.none() | st.ip_addresses(v=6),
        st.booleans(),
    )
)
def test_a_reply_is_read_as_it_was_written(reply: Reply) -> None:
    value = layout.encode_reply(reply)
    assert len(value) == layout.REPLY_SIZE
    assert layout.decode_reply(value) == reply


def test_a_reply_is_laid_out_as_the_program_reads_it() -> None:
    value = layout.encode_reply(Reply(7, 1500, MAC, 5, FOUR, SIX, True))
    for form, offset, expected in (
        ("=I", layout.REPLY_TAP, 7),
        ("=I", layout.REPLY_MTU, 1500),
        ("=6s", layout.REPLY_MAC, MAC),
        ("=H", layout.REPLY_VLAN, 5),
        ("=I", layout.REPLY_FLAGS, 7),
        ("=4s", layout.REPLY_ADDRESS4, FOUR.packed),
        ("=16s", layout.REPLY_ADDRESS6, SIX.packed),
    ):
        assert struct.unpack_from(form, value, offset) == (expected,)


@given(BITS32)
def test_a_number_is_read_as_it_was_written(number: int) -> None:
    assert len(layout.encode_number(number)) == layout.INDEX_SIZE
    assert layout.decode_number(layout.encode_number(number)) == number


@given(DROPS)
def test_the_drops_of_a_tap_are_read_as_they_were_written(drops: tuple[int]) -> None:
    value = layout.encode_drops(drops)
    assert len(value) == layout.TAP_SIZE
    assert layout.decode_drops(value) == drops
    assert layout.encode_drops() == bytes(layout.TAP_SIZE)


def test_a_refusal_is_read_as_the_program_writes_it() -> None:
    value = struct.pack("=QQ", 3, 2**40)
    assert len(value) == layout.REFUSED_SIZE
    assert layout.decode_refused(value) == Refused(3, 2**40)


def test_a_service_is_found_under_its_address() -> None:
    address = IPv4Address("169.254.169.254")
    key, value = layout.encode_service(address)
    assert key == IPv6Address("::ffff:169.254.169.254").packed
    assert value == struct.pack("=I", 1)
    six = IPv6Address("fd00:a9fe:a9fe::254")
    assert layout.encode_service(six)[0] == six.packed


def test_every_reason_has_a_counter_and_a_word() -> None:
    assert max(DropReason) < layout.REASONS
    assert DropReason.STACKED_TAGS.word == "stacked_tags"
    assert DropReason(10).word == "too_big"


@given(st.builds(TapProbe, st.ip_addresses(v=4), BITS32, BITS64, BITS64, BITS64))
def test_a_probe_is_read_as_it_was_written(probe: TapProbe) -> None:
    value = layout.encode_probe(probe)
    assert len(value) == layout.PROBE_SIZE
    assert layout.decode_probe(value) == probe
    assert value[layout.PROBE_IDENTITY :][:4] == probe.identity.packed
    for at, form, said in (
        (layout.PROBE_TAP, "=I", probe.tap),
        (layout.PROBE_ACCEPTED, "=Q", probe.accepted),
        (layout.PROBE_ANSWERED, "=Q", probe.answered),
        (layout.PROBE_REFUSED, "=Q", probe.refused),
    ):
        assert struct.unpack_from(form, value, at) == (said,)


def test_maps_have_the_sizes_of_what_is_written_into_them() -> None:
    sizes = {name: (form.key, form.value) for name, form in layout.MAPS.items()}
    assert sizes == {
        "service": (16, 4),
        "identity": (32, 24),
        "guest": (12, 168),
        "tap": (4, 128),
        "reply": (4, 48),
        "refused": (32, 16),
        "news": (0, 32),
        "lost": (4, 8),
        "probe": (4, 32),
    }
    shared = layout.MapNumbers._fields[: len(layout.MAPS)]
    assert shared == tuple(layout.MAPS)
