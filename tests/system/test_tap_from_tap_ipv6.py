"""The program at the taps, run by the kernel on single frames: IPv6 to services. scapy
computes the checksums of what is expected.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.system.from_tap_rig import (
    ADDRESS6,
    ADDRESS_LL,
    BASE,
    DROP,
    FAR6,
    GUEST_MAC,
    HOST_MAC,
    IDENTITY6,
    IDENTITY_LL,
    INDEX,
    OTHER_MAC,
    REDIRECT,
    SERVICE6,
    FromTap,
    octets,
)
from vagent.datapath.tap import layout
from vagent.datapath.tap.layout import DropReason, Guest, GuestFlag
from vagent.ports.identity import link_local_word, prefix6_of

pytestmark = [pytest.mark.system, pytest.mark.kernel]

GATEWAY_MAC = "02:11:11:11:11:11"
ETHERNET, IPV6_END = 14, 54
PLACES = [(ADDRESS6, IDENTITY6), (ADDRESS_LL, IDENTITY_LL)]


@pytest.fixture
def tap() -> Iterator[FromTap]:
    made = FromTap()
    yield made
    made.close()


def to_service(*upper: Packet | bytes, mac: str = GUEST_MAC, **fields: Any) -> Packet:
    """A frame of the guest to the service."""
    frame = Ether(src=mac, dst=GATEWAY_MAC) / IPv6(
        **({"src": ADDRESS6, "dst": SERVICE6} | fields)
    )
    for layer in upper:
        frame = frame / layer
    return frame


def at_host(*upper: Packet | bytes, **fields: Any) -> Packet:
    """What the host gets of it."""
    frame = to_service(*upper, **({"src": IDENTITY6} | fields))
    frame[Ether].dst = HOST_MAC
    return frame


UPPER = [
    (TCP(sport=4000, dport=80, flags="S"),),
    (TCP(sport=4000, dport=80, options=[("MSS", 1440)]), b"odd"),
    (UDP(sport=4000, dport=53), b"even"),
    (UDP(sport=4000, dport=53), b"odd"),
    (ICMPv6EchoRequest(id=7), b"ping"),
]


@pytest.mark.parametrize("upper", UPPER, ids=repr)
@pytest.mark.parametrize(("address", "identity"), PLACES)
def test_a_packet_for_a_service_gets_the_identity(
    tap: FromTap, upper: tuple[Packet, ...], address: str, identity: str
) -> None:
    """As if it had been made with the new address: every checksum is right."""
    fields: dict[str, Any] = {"tc": 3, "fl": 77, "hlim": 1}
    sent = to_service(*upper, src=address, **fields)
    tap.sends(sent, at_host(*upper, src=identity, **fields))
    assert tap.guest().last_address == IPv6Address(address)


@pytest.mark.parametrize(("address", "identity"), PLACES)
def test_other_protocols_get_it_without_a_checksum(
    tap: FromTap, address: str, identity: str
) -> None:
    for protocol in (50, 59, 132):
        sent = to_service(b"some", src=address, nh=protocol)
        tap.sends(sent, at_host(b"some", src=identity, nh=protocol))


def test_udp_without_a_checksum_gets_none(tap: FromTap) -> None:
    """IPv6 does not allow it (RFC 8200 8.1): the receiver drops it."""
    upper = UDP(sport=1, dport=2, chksum=0) / b"x"
    tap.sends(to_service(upper), at_host(upper))


def test_no_checksum_changes_with_a_link_local_address(tap: FromTap) -> None:
    """Not even a wrong one, or one whose sum is zero."""
    for checksum in (0, 1, 0xFFFF, 0x1234):
        for upper in (TCP(chksum=checksum), UDP(chksum=checksum)):
            sent = to_service(upper, src=ADDRESS_LL)
            tap.sends(sent, at_host(upper, src=IDENTITY_LL))


@pytest.mark.parametrize("index", [2, 0xFF, 0x100, 0xFEFF, 0xFFFF])
def test_the_identity_of_a_link_local_address_follows_from_the_index(
    tap: FromTap, index: int
) -> None:
    guest = Guest(index, GuestFlag.TAKES_LINK_LOCAL)
    key = layout.encode_guest_key(1, 0, octets(GUEST_MAC))
    tap.maps["guest"].write(key, layout.encode_guest(guest))
    upper = prefix6_of(int(BASE)) << 96 | link_local_word(index) << 64
    identity = IPv6Address(upper | int(IPv6Address(ADDRESS_LL)) & (1 << 64) - 1)
    sent = to_service(TCP(), src=ADDRESS_LL)
    tap.sends(sent, at_host(TCP(), src=str(identity)))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (to_service(TCP(), mac=OTHER_MAC), DropReason.SPOOFED),
        (to_service(TCP(), mac=OTHER_MAC, src=ADDRESS_LL), DropReason.SPOOFED),
        (to_service(TCP(), src="2001:db8::6"), DropReason.SPOOFED),
        (to_service(TCP(), src="fe80:0:0:1::5"), DropReason.SPOOFED),
        (to_service(TCP(), src="fe90::5"), DropReason.SPOOFED),
        (to_service(TCP(), src="::"), DropReason.SPOOFED),
        (to_service(TCP(), src=IDENTITY6), DropReason.SPOOFED),
        (to_service(TCP(), src="::ffff:10.0.0.5"), DropReason.SPOOFED),
        (to_service(TCP(), src=SERVICE6), DropReason.CLAIMED),
        (to_service(TCP(), src=SERVICE6, dst=FAR6), DropReason.CLAIMED),
        (to_service(b"", src=SERVICE6, dst="ff02::1", nh=59), DropReason.CLAIMED),
        (to_service(TCP(), plen=21), DropReason.MALFORMED),
        (to_service(b"", nh=6), DropReason.MALFORMED),
    ],
    ids=repr,
)
def test_what_is_not_exactly_right_is_dropped(
    tap: FromTap, frame: Packet, reason: DropReason
) -> None:
    tap.refuses(frame, reason, frame[IPv6].src)


@pytest.mark.parametrize("flags", [0, GuestFlag.LEARNS])
def test_link_local_addresses_are_for_those_who_may_take_them(
    tap: FromTap, flags: int
) -> None:
    tap.register(flags=flags)
    reason = DropReason.UNLEARNED if flags else DropReason.SPOOFED
    tap.refuses(to_service(TCP(), src=ADDRESS_LL), reason, ADDRESS_LL)
    tap.sends(to_service(TCP()), at_host(TCP()))


def test_an_address_that_is_not_learned_yet_has_a_reason_of_its_own(
    tap: FromTap,
) -> None:
    tap.register(flags=GuestFlag.LEARNS)
    tap.refuses(to_service(TCP(), src="2001:db8::6"), DropReason.UNLEARNED)


def test_what_is_cut_short_is_dropped(tap: FromTap) -> None:
    """At every length; also what is for others, within its header."""
    whole = to_service(TCP(sport=4000, dport=80), b"odd")
    for frame in (whole, to_service(TCP(), dst=FAR6)):
        for length in range(ETHERNET, IPV6_END):
            assert tap.run_cut(frame, length).said == DROP
    assert {place.reason for place in tap.news()} == {DropReason.MALFORMED}
    for length in range(IPV6_END, len(whole)):
        tap.refuses(bytes(whole)[:length], DropReason.MALFORMED, ADDRESS6)


@pytest.mark.parametrize(("protocol", "needed"), [(6, 18), (17, 8), (58, 4)])
@pytest.mark.parametrize("address", [ADDRESS6, ADDRESS_LL])
def test_what_ends_before_its_checksum_is_dropped(
    tap: FromTap, protocol: int, needed: int, address: str
) -> None:
    """Padding does not help: the header says where the packet ends."""
    for length in range(needed):
        frame = to_service(bytes(length), nh=protocol, src=address)
        tap.refuses(bytes(frame) + bytes(30), DropReason.MALFORMED, address)
        for more, reason in ((1, DropReason.FRAGMENT), (0, DropReason.MALFORMED)):
            first = IPv6ExtHdrFragment(nh=protocol, offset=0, m=more)
            frame = to_service(first, bytes(length), src=address)
            tap.refuses(bytes(frame) + bytes(30), reason, address)


@pytest.mark.parametrize(("address", "identity"), PLACES)
def test_fragments_are_carried(tap: FromTap, address: str, identity: str) -> None:
    """The first has the checksum, computed over all of them; the others have none.
    A packet that is whole may have a fragment header, too (RFC 6946).
    """
    upper = UDP(sport=1, dport=2) / bytes(range(64))
    whole = bytes(to_service(upper, src=address))[IPV6_END:]
    expected = bytes(at_host(upper, src=identity))[IPV6_END:]
    for at, more, start, end in (
        (0, 1, 0, 24),
        (0, 1, 0, 8),
        (3, 1, 24, 48),
        (6, 0, 48, 72),
        (0, 0, 0, 72),
    ):
        header = IPv6ExtHdrFragment(nh=17, offset=at, m=more, id=9)
        sent = to_service(header, whole[start:end], src=address)
        tap.sends(sent, at_host(header, expected[start:end], src=identity))


OPTIONS = (IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting())
FRAGMENT = IPv6ExtHdrFragment(offset=0, m=1)


@pytest.mark.parametrize(
    "upper",
    [
        *((header, TCP()) for header in OPTIONS),
        (*OPTIONS, UDP()),
        (*OPTIONS, *OPTIONS, UDP()),
        (*OPTIONS, *OPTIONS, OPTIONS[0], UDP()),
        (OPTIONS[0], FRAGMENT, UDP()),
        (FRAGMENT, OPTIONS[1], UDP()),
        (FRAGMENT, FRAGMENT, UDP()),
        (IPv6ExtHdrFragment(offset=5, m=0, nh=60), b"rest"),
        (OPTIONS[0], IPv6ExtHdrFragment(offset=5, m=0, nh=17), b"rest"),
        (IPv6ExtHdrDestOpt(nh=51), b"\x06\x04" + bytes(22), b"rest"),
        (IPv6ExtHdrDestOpt(nh=135), b"\x3b\x00" + bytes(6), b"rest"),
    ],
    ids=repr,
)
def test_extension_headers_to_a_service_are_dropped(
    tap: FromTap, upper: tuple[Packet, ...]
) -> None:
    tap.refuses(to_service(*upper), DropReason.EXTENSION_HEADER, ADDRESS6)


def test_headers_that_a_service_never_gets_whole_are_dropped(tap: FromTap) -> None:
    """Cut within an extension header."""
    whole = bytes(to_service(IPv6ExtHdrDestOpt(), TCP()))
    for length in range(IPV6_END, IPV6_END + 8):
        tap.refuses(whole[:length], DropReason.MALFORMED)
    first = bytes(to_service(FRAGMENT, IPv6ExtHdrDestOpt(), TCP()))
    for length in range(IPV6_END + 8, IPV6_END + 16):
        tap.refuses(first[:length], DropReason.FRAGMENT)


@pytest.mark.parametrize(
    "frame",
    [
        to_service(TCP(), dst=FAR6),
        to_service(TCP(), dst=FAR6, src=ADDRESS_LL),
        to_service(TCP(), dst=FAR6, mac=OTHER_MAC),
        to_service(*OPTIONS, UDP(), dst=FAR6),
        to_service(*OPTIONS, *OPTIONS, UDP(), dst=FAR6),
        to_service(FRAGMENT, UDP(), dst=FAR6),
        to_service(IPv6ExtHdrFragment(offset=5, nh=58), b"rest", dst=FAR6),
        to_service(IPv6ExtHdrDestOpt(nh=6, len=30), b"cut", dst=FAR6),
        to_service(IPv6ExtHdrHopByHop(), ICMPv6MLReport2(), dst="ff02::16"),
        to_service(b"", nh=59, dst=FAR6),
        to_service(b"", nh=58, dst=FAR6),
        to_service(TCP(), dst=FAR6, plen=2000),
    ],
    ids=repr,
)
def test_what_does_not_concern_us_passes_untouched(tap: FromTap, frame: Packet) -> None:
    tap.passes(frame)


@pytest.mark.parametrize("destination", [FAR6, SERVICE6, "ff02::1"])
def test_more_headers_than_are_looked_through_are_dropped(
    tap: FromTap, destination: str
) -> None:
    """Whomever they are for: behind them could be a claim to a service."""
    frame = to_service(*OPTIONS, *OPTIONS, OPTIONS[1], Raw(b"x" * 8), dst=destination)
    tap.refuses(frame, DropReason.EXTENSION_HEADER, ADDRESS6)


def test_a_first_fragment_without_all_its_headers_is_dropped(tap: FromTap) -> None:
    """Whomever it is for, for the same reason (RFC 7112)."""
    for following in (58, 60):
        cut = IPv6ExtHdrDestOpt(len=9, nh=following)
        frame = to_service(FRAGMENT, cut, b"x" * 8, dst=FAR6)
        tap.refuses(frame, DropReason.FRAGMENT, ADDRESS6)


@pytest.mark.parametrize("vlan", [0, 5])
def test_a_guest_behind_a_tag_is_served_without_it(tap: FromTap, vlan: int) -> None:
    tap.register(vlan=vlan)
    for address, identity in PLACES:
        sent = to_service(TCP(), src=address)
        expected = bytes(at_host(TCP(), src=identity))
        assert tap.run_tagged(sent, vlan) == (REDIRECT, expected, None)
    assert tap.guest(vlan).packets == 2
    assert tap.guest(vlan).index == INDEX
    assert tap.run_tagged(to_service(TCP()), 6).said == DROP
