"""The program at the taps, run by the kernel on single frames: VLAN tags in the frame,
behind which nobody is served.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import (
    ICMPv6MLDone,
    ICMPv6MLQuery,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_Redirect,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP
from scapy.packet import Packet, Raw

from tests.system.from_tap_rig import (
    ADDRESS,
    ADDRESS6,
    CUSTOMER,
    DROP,
    FAR,
    FAR6,
    GUEST_MAC,
    PASS,
    PROVIDER,
    SERVICE,
    SERVICE6,
    FromTap,
)
from vagent.datapath.tap.layout import DropReason

pytestmark = [pytest.mark.system, pytest.mark.kernel]

HEAD = bytes.fromhex("021111111111 020000000001")
TAG_TYPES = (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300)
IDS = (0, 1, 5, 4095)
NAMED = IPv6Address(SERVICE6).packed
REPORT = IPv6ExtHdrHopByHop()


@pytest.fixture
def tap() -> Iterator[FromTap]:
    made = FromTap()
    yield made
    made.close()


def behind(tags: tuple[tuple[int, int], ...], packet: Packet, kind: int) -> bytes:
    """A frame with these tags (type, VLAN) in it."""
    words = [number for tag in tags for number in tag] + [kind]
    return HEAD + b"".join(each.to_bytes(2, "big") for each in words) + bytes(packet)


def of(packet: Packet) -> int:
    """Its Ethernet type."""
    return {IP: 0x0800, IPv6: 0x86DD, ARP: 0x0806}[type(packet)]


MENTIONS = [
    IP(src=ADDRESS, dst=SERVICE) / TCP(),
    IP(src=SERVICE, dst=FAR) / TCP(),
    IP(src=ADDRESS, dst=SERVICE, ihl=0, version=7, len=3, frag=5),
    ARP(op=1, hwsrc=GUEST_MAC, psrc=ADDRESS, pdst=SERVICE),
    ARP(op=2, hwsrc=GUEST_MAC, psrc=SERVICE, pdst=FAR),
    IPv6(src=ADDRESS6, dst=SERVICE6) / TCP(),
    IPv6(src=SERVICE6, dst=FAR6) / TCP(),
    IPv6(src=ADDRESS6, dst="ff02::1") / ICMPv6ND_NS(tgt=SERVICE6),
    IPv6(src=ADDRESS6, dst="ff02::1") / ICMPv6ND_NA(tgt=SERVICE6),
    IPv6(src=ADDRESS6, dst="ff02::1") / ICMPv6ND_Redirect(dst=SERVICE6, tgt=FAR6),
]
MAY_MENTION: list[Packet] = [
    IPv6(src=ADDRESS6, dst=FAR6) / header / TCP()
    for header in (
        IPv6ExtHdrHopByHop(),
        IPv6ExtHdrDestOpt(),
        IPv6ExtHdrRouting(),
        IPv6ExtHdrFragment(m=1),
    )
]
MAY_MENTION += [
    IPv6(src=ADDRESS6, dst=FAR6, nh=kind) / Raw(bytes(64))
    for kind in (0, 51, 135, 139, 140)
]
MAY_MENTION += [
    IPv6(src=ADDRESS6, dst="ff02::1") / REPORT / ICMPv6ND_NA(tgt=SERVICE6),
    IPv6(src=ADDRESS6, dst="ff02::1") / REPORT / REPORT / ICMPv6MLReport2(),
    IPv6(src=ADDRESS6, dst="ff02::1", nh=0) / Raw(b"\x3a\1" + bytes(6) + b"\x8f"),
    IPv6(src=ADDRESS6, dst="ff02::1", nh=0) / Raw(b"\x3a\0" + bytes(6)),
]
OTHERS = [
    IP(src=ADDRESS, dst=FAR) / TCP(),
    ARP(op=1, hwsrc=GUEST_MAC, psrc=ADDRESS, pdst=FAR),
    IPv6(src=ADDRESS6, dst=FAR6) / TCP(),
    IPv6(src=ADDRESS6, dst="ff02::1") / ICMPv6ND_NS(tgt=FAR6),
    IPv6(src=ADDRESS6, dst="ff02::1") / ICMPv6ND_Redirect(dst=FAR6, tgt=SERVICE6),
    IPv6(src=ADDRESS6, dst="ff02::1", nh=58) / Raw(b"\x88"),
    # In places where it is no mention.
    IPv6(src=ADDRESS6, dst=FAR6, nh=58) / Raw(b"\x80" + bytes(7) + NAMED),
    IPv6(src=ADDRESS6, dst="ff02::1") / ICMPv6ND_NS(tgt=FAR6) / Raw(NAMED),
    *(
        IPv6(src=ADDRESS6, dst="ff02::16") / REPORT / listener
        for listener in (
            ICMPv6MLReport2(),
            ICMPv6MLReport(),
            ICMPv6MLQuery(),
            ICMPv6MLDone(),
        )
    ),
]


@pytest.mark.parametrize("packet", MENTIONS + MAY_MENTION, ids=repr)
def test_what_mentions_a_service_behind_a_tag_is_dropped(
    tap: FromTap, packet: Packet
) -> None:
    """Of every type and VLAN, whether or not there is one beside the frame; and what
    may mention it where nothing has a fixed place.
    """
    for tag in itertools.product(TAG_TYPES, IDS):
        frame = behind((tag,), packet, of(packet))
        tap.refuses(
            frame,
            DropReason.STACKED_TAGS,
            packet.getfieldval("psrc" if isinstance(packet, ARP) else "src"),
        )
        assert tap.run_tagged(frame, 0).said == DROP
    assert tap.run_tagged(frame, 5, PROVIDER).said == DROP
    assert {place.vlan for place in tap.news()} == {0x8005}


@pytest.mark.parametrize("packet", OTHERS, ids=repr)
def test_what_mentions_none_passes_behind_a_tag(tap: FromTap, packet: Packet) -> None:
    for tag in itertools.product(TAG_TYPES, IDS):
        frame = behind((tag,), packet, of(packet))
        tap.passes(frame)
        for vlan, kind in ((0, CUSTOMER), (5, PROVIDER)):
            assert tap.run_tagged(frame, vlan, kind) == (PASS, frame, vlan)


@pytest.mark.parametrize("packet", [*MENTIONS, *OTHERS], ids=repr)
def test_all_behind_two_tags_in_the_frame_is_dropped(
    tap: FromTap, packet: Packet
) -> None:
    """With the one beside it, those are three."""
    for first, second in itertools.product(TAG_TYPES, TAG_TYPES):
        frame = behind(((first, 0), (second, 0)), packet, of(packet))
        tap.refuses(frame, DropReason.STACKED_TAGS)
        tap.refuses(frame[:20], DropReason.STACKED_TAGS)
    assert tap.run_tagged(frame, 0).said == DROP


@pytest.mark.parametrize("packet", OTHERS, ids=repr)
def test_what_ends_in_its_header_is_dropped_behind_a_tag_too(
    tap: FromTap, packet: Packet
) -> None:
    header = 28 if isinstance(packet, ARP) else 40 if isinstance(packet, IPv6) else 20
    frame = behind(((0x8100, 5),), packet, of(packet))
    for length in range(header):
        tap.refuses(frame[: 18 + length], DropReason.MALFORMED)


def test_what_ends_in_its_tag_mentions_nothing(tap: FromTap) -> None:
    for kind in TAG_TYPES:
        frame = behind(((kind, 5),), IP(), 0x0800)
        for length in (15, 17):
            tap.passes(frame[:length])


def test_other_protocols_pass_behind_a_tag(tap: FromTap) -> None:
    for kind in (0x88CC, 0x8847, 100):
        for packet in MENTIONS:
            tap.passes(behind(((0x8100, 5),), packet, kind))
