"""The program at the taps, run by the kernel on single frames: neighbour discovery.
scapy computes the checksums of what is expected.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Any

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6NDOptUnknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.system.from_tap_rig import (
    ADDRESS6,
    ADDRESS_LL,
    DROP,
    FAR6,
    GUEST_MAC,
    OTHER_MAC,
    REDIRECT,
    SERVICE6,
    SERVICE_MAC,
    FromTap,
)
from vagent.datapath.tap.layout import DropReason, encode_service

pytestmark = [pytest.mark.system, pytest.mark.kernel]

NAMED = IPv6Address(SERVICE6).packed
GROUP, GROUP_MAC = "ff02::1:ff00:254", "33:33:ff:00:02:54"
ICMP_AT = 54


@pytest.fixture
def tap() -> Iterator[FromTap]:
    made = FromTap()
    yield made
    made.close()


def message(*upper: Packet | bytes, mac: str = GUEST_MAC, **fields: Any) -> Packet:
    """A frame of the guest to the group of the service's address."""
    frame = Ether(src=mac, dst=GROUP_MAC) / IPv6(
        **(dict[str, Any](src=ADDRESS_LL, dst=GROUP, hlim=255) | fields)
    )
    for layer in upper:
        frame = frame / layer
    return frame


ASKS = ICMPv6ND_NS(tgt=SERVICE6)
SOURCE = ICMPv6NDOptSrcLLAddr(lladdr=GUEST_MAC)
CLAIMS = ICMPv6ND_NA(tgt=SERVICE6, R=0, S=1, O=1)


def answer(address: str) -> Packet:
    return (
        Ether(src=SERVICE_MAC, dst=GUEST_MAC)
        / IPv6(src=SERVICE6, dst=address, hlim=255)
        / ICMPv6ND_NA(tgt=SERVICE6, R=0, S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=SERVICE_MAC)
    )


@pytest.mark.parametrize("address", [ADDRESS_LL, ADDRESS6, "2001:db8::77", "::5"])
@pytest.mark.parametrize("destination", [GROUP, SERVICE6, "ff02::1"])
@pytest.mark.parametrize(
    "upper",
    [
        (ASKS,),
        (ASKS, SOURCE),
        (ASKS, SOURCE, ICMPv6NDOptUnknown(type=14, len=1, data=b"nonce!")),
        (IPv6ExtHdrDestOpt(), ASKS, SOURCE),
        (ASKS, SOURCE, b"padding behind it"),
    ],
    ids=repr,
)
def test_a_solicitation_for_a_service_is_answered(
    tap: FromTap, upper: tuple[Packet, ...], destination: str, address: str
) -> None:
    """Whatever its length, and whichever address the guest asks from."""
    tap.answers(message(*upper, src=address, dst=destination), answer(address))


@pytest.mark.parametrize("service", ["fd00:ffff:ffff::ffff", "::2", "2001:db8::ff:0"])
def test_every_answer_has_the_right_checksum(tap: FromTap, service: str) -> None:
    """For each sum that addresses may have."""
    tap.maps["service"].write(*encode_service(IPv6Address(service)))
    for number in range(200):
        address = f"fe80::{number:x}:{number * 331 & 0xFFFF:x}"
        expected = answer(address)
        expected[IPv6].src = expected[ICMPv6ND_NA].tgt = service
        tap.answers(message(ICMPv6ND_NS(tgt=service), src=address), expected)


def test_the_checksum_of_an_answer_may_be_zero(tap: FromTap) -> None:
    whole = bytes(answer("fe80::1:0"))
    (checksum,) = struct.unpack_from("!H", whole, ICMP_AT + 2)
    address = f"fe80::1:{checksum:x}"
    expected = answer(address)
    assert bytes(expected)[ICMP_AT + 2 : ICMP_AT + 4] == bytes(2)
    tap.answers(message(ASKS, src=address), expected)


@pytest.mark.parametrize(
    "frame",
    [
        message(ASKS, SOURCE, mac=OTHER_MAC),
        message(ASKS, SOURCE, hlim=254),
        message(ICMPv6ND_NS(tgt=SERVICE6, code=1), SOURCE),
    ],
    ids=repr,
)
def test_what_else_asks_for_a_service_is_dropped(tap: FromTap, frame: Packet) -> None:
    tap.refuses(frame, DropReason.SPOOFED, ADDRESS_LL)


CLAIM = [
    (CLAIMS,),
    (ICMPv6ND_NA(tgt=SERVICE6, R=0, S=0, O=0),),
    (ICMPv6ND_Redirect(dst=SERVICE6, tgt=ADDRESS_LL),),
]


@pytest.mark.parametrize("upper", CLAIM, ids=repr)
@pytest.mark.parametrize("destination", ["ff02::1", SERVICE6, FAR6])
@pytest.mark.parametrize(
    "headers",
    [
        (),
        (IPv6ExtHdrHopByHop(),),
        (IPv6ExtHdrRouting(addresses=[FAR6, FAR6]), IPv6ExtHdrDestOpt()),
        (IPv6ExtHdrDestOpt(nh=51), b"\x3a\x04" + bytes(22)),
    ],
    ids=repr,
)
def test_nobody_claims_a_service(
    tap: FromTap,
    upper: tuple[Packet, ...],
    destination: str,
    headers: tuple[Packet, ...],
) -> None:
    """Behind extension headers neither, of any length."""
    frame = message(*headers, *upper, dst=destination)
    tap.refuses(frame, DropReason.CLAIMED, ADDRESS_LL)


def test_nobody_looks_for_a_service_address_of_its_own(tap: FromTap) -> None:
    """Duplicate address detection (RFC 4862): a solicitation without a source."""
    for mac in (GUEST_MAC, OTHER_MAC):
        frame = message(ASKS, src="::", mac=mac)
        tap.refuses(frame, DropReason.CLAIMED, "::")


@pytest.mark.parametrize("upper", [(ASKS, SOURCE), *CLAIM], ids=repr)
@pytest.mark.parametrize(
    "headers",
    [
        (IPv6ExtHdrFragment(m=1),),
        (IPv6ExtHdrFragment(m=0),),
        (IPv6ExtHdrDestOpt(), IPv6ExtHdrFragment(m=1)),
        (IPv6ExtHdrFragment(m=1), IPv6ExtHdrDestOpt()),
    ],
    ids=repr,
)
def test_what_is_about_a_service_in_a_fragment_is_dropped(
    tap: FromTap, upper: tuple[Packet, ...], headers: tuple[Packet, ...]
) -> None:
    """Nobody may send such a one (RFC 6980), and some take it."""
    tap.refuses(message(*headers, *upper), DropReason.FRAGMENT, ADDRESS_LL)


@pytest.mark.parametrize(("upper", "length"), [(CLAIM[0], 24), (CLAIM[2], 40)])
def test_a_message_cut_before_what_it_is_about_is_dropped_in_a_first_fragment(
    tap: FromTap, upper: tuple[Packet, ...], length: int
) -> None:
    """What it claims may be in the next. Otherwise nobody understands it."""
    first = bytes(message(IPv6ExtHdrFragment(m=1), *upper))
    whole = bytes(message(*upper))
    for cut in range(length):
        tap.refuses(first[: ICMP_AT + 8 + cut], DropReason.FRAGMENT)
        tap.passes(whole[: ICMP_AT + cut])


@pytest.mark.parametrize(
    "frame",
    [
        message(ICMPv6ND_NS(tgt=FAR6), SOURCE),
        message(ICMPv6ND_NS(tgt=FAR6), src="::"),
        message(ICMPv6ND_NA(tgt=FAR6)),
        message(ICMPv6ND_Redirect(dst=FAR6, tgt=SERVICE6)),
        message(ICMPv6ND_RS(), dst="ff02::2"),
        message(ICMPv6ND_RA(), dst="ff02::1"),
        message(IPv6ExtHdrFragment(m=1), ICMPv6ND_NA(tgt=FAR6)),
        message(IPv6ExtHdrFragment(offset=3), CLAIMS),
        message(UDP(), bytes(CLAIMS)),
        message(UDP(sport=0x8800), NAMED, dst=FAR6),
        message(b"\x80" + bytes(7) + NAMED, nh=58, dst=FAR6),
        message(ICMPv6ND_NS(tgt=FAR6), NAMED),
        message(ICMPv6ND_NS(tgt=FAR6), mac=OTHER_MAC),
    ],
    ids=repr,
)
def test_what_is_about_others_passes_untouched(tap: FromTap, frame: Packet) -> None:
    tap.passes(frame)


def test_what_is_about_others_goes_to_the_service_that_it_is_for(tap: FromTap) -> None:
    said, _, _ = tap.run(message(ICMPv6ND_NA(tgt=ADDRESS_LL), dst=SERVICE6))
    assert said == REDIRECT
    assert tap.guest().packets == 1


@pytest.mark.parametrize("tag", [0, 5])
def test_an_answer_has_the_tag_that_the_guest_takes(tap: FromTap, tag: int) -> None:
    tap.register(vlan=tag, vlan_got=7)
    expected = (REDIRECT, bytes(answer(ADDRESS_LL)), 7)
    assert tap.run_tagged(message(ASKS, SOURCE), tag) == expected
    assert tap.run_tagged(message(ASKS, SOURCE), 6).said == DROP
    tap.register(vlan=tag, vlan_got=0)
    assert tap.run_tagged(message(ASKS), tag) == (*expected[:2], None)
