"""The program at the taps, run by the kernel on single frames (BPF_PROG_TEST_RUN): who
is served, what is dropped and how it is counted; IPv4 and ARP. scapy computes the
checksums of what is expected.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from tests.system.from_tap_rig import (
    ADDRESS,
    AGENT_CAPABILITIES,
    CUSTOMER,
    DROP,
    FAR,
    GUEST_MAC,
    HOST_MAC,
    IDENTITY,
    LOOPBACK,
    OTHER_MAC,
    PASS,
    PROVIDER,
    REDIRECT,
    SERVICE,
    SERVICE_MAC,
    FromTap,
    load_with,
    octets,
)
from vagent.datapath.tap import layout
from vagent.datapath.tap.layout import DropReason, GuestPlace

pytestmark = [pytest.mark.system, pytest.mark.kernel]

GATEWAY_MAC = "02:11:11:11:11:11"
BROADCAST = "ff:ff:ff:ff:ff:ff"
ETHERNET, IPV4_END = 14, 34


@pytest.fixture
def tap() -> Iterator[FromTap]:
    made = FromTap()
    yield made
    made.close()


def to_service(*upper: Packet | bytes, mac: str = GUEST_MAC, **fields: Any) -> Packet:
    """A frame of the guest to the service."""
    frame = Ether(src=mac, dst=GATEWAY_MAC) / IP(
        **({"src": ADDRESS, "dst": SERVICE} | fields)
    )
    for layer in upper:
        frame = frame / layer
    return frame


def at_host(*upper: Packet | bytes, **fields: Any) -> Packet:
    """What the host gets of it."""
    frame = to_service(*upper, **({"src": IDENTITY} | fields))
    frame[Ether].dst = HOST_MAC
    return frame


def question(**fields: Any) -> Packet:
    """An ARP request of the guest for the service."""
    asked: dict[str, Any] = {
        "op": 1,
        "hwsrc": GUEST_MAC,
        "psrc": ADDRESS,
        "pdst": SERVICE,
    } | fields
    return Ether(src=GUEST_MAC, dst=BROADCAST) / ARP(**asked)


def reply(address: str = ADDRESS) -> Packet:
    return Ether(src=SERVICE_MAC, dst=GUEST_MAC) / ARP(
        op=2, hwsrc=SERVICE_MAC, psrc=SERVICE, hwdst=GUEST_MAC, pdst=address
    )


def other(kind: int) -> Packet:
    return Ether(src=GUEST_MAC, dst=GATEWAY_MAC, type=kind)


UPPER = [
    (TCP(sport=4000, dport=80, flags="S"),),
    (TCP(sport=4000, dport=80, options=[("MSS", 1460)]), b"odd"),
    (UDP(sport=4000, dport=53), b"even"),
    (UDP(sport=4000, dport=53), b"odd"),
    (UDP(sport=4000, dport=53), bytes(1400)),
    (ICMP(type=8, id=7), b"ping"),
    (Raw(b"some other protocol"),),
]


@pytest.mark.parametrize("upper", UPPER, ids=repr)
@pytest.mark.parametrize(
    "fields",
    [{}, {"ttl": 1}, {"options": [IPOption(b"\x94\x04\0\0")]}, {"flags": "DF"}],
    ids=repr,
)
def test_a_packet_for_a_service_gets_the_identity(
    tap: FromTap, upper: tuple[Packet, ...], fields: dict[str, Any]
) -> None:
    """As if it had been made with the new address: every checksum is right."""
    tap.sends(to_service(*upper, **fields), at_host(*upper, **fields))


def test_padding_is_carried_and_is_no_part_of_the_packet(tap: FromTap) -> None:
    upper = UDP(sport=1, dport=2) / b"x"
    sent, expected = bytes(to_service(upper)), bytes(at_host(upper))
    said, after, _ = tap.run(sent + bytes(20))
    assert (said, after) == (REDIRECT, expected + bytes(20))


def test_udp_without_a_checksum_gets_none(tap: FromTap) -> None:
    upper = UDP(sport=1, dport=2, chksum=0) / b"x"
    tap.sends(to_service(upper), at_host(upper))


def test_fragments_are_carried(tap: FromTap) -> None:
    """The first has the checksum, computed over all of them; the others have none."""
    whole, expected = (
        bytes(make(UDP(sport=1, dport=2) / bytes(range(64))))[IPV4_END:]
        for make in (to_service, at_host)
    )
    for at, flags, part, becomes in (
        (0, "MF", whole[:24], expected[:24]),
        (0, "MF", whole[:8], expected[:8]),
        (3, "MF", whole[24:48], expected[24:48]),
        (6, 0, whole[48:], expected[48:]),
    ):
        fields: dict[str, Any] = {"frag": at, "flags": flags, "proto": 17, "id": 9}
        tap.sends(to_service(part, **fields), at_host(becomes, **fields))


@pytest.mark.parametrize(("protocol", "needed"), [(6, 18), (17, 8)])
def test_what_ends_before_its_checksum_is_dropped(
    tap: FromTap, protocol: int, needed: int
) -> None:
    """Padding does not help: the header says where the packet ends."""
    for flags, reason in (("MF", DropReason.FRAGMENT), (0, DropReason.MALFORMED)):
        fields: dict[str, Any] = {"flags": flags, "proto": protocol}
        for length in range(needed):
            frame = to_service(bytes(length), **fields)
            tap.refuses(bytes(frame) + bytes(30), reason, ADDRESS)


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 5},
        {"version": 0},
        {"ihl": 4},
        {"ihl": 0},
        {"ihl": 15},
        {"len": 19},
        {"len": 0},
        {"len": 30},
        {"len": 65535},
    ],
    ids=repr,
)
def test_what_its_own_header_contradicts_is_dropped(
    tap: FromTap, fields: dict[str, Any]
) -> None:
    frame = to_service(proto=132, **fields)
    tap.refuses(frame, DropReason.MALFORMED, ADDRESS)


def test_what_is_cut_short_is_dropped(tap: FromTap) -> None:
    """At every length: no header, no packet of the length that it says."""
    for whole, header in (
        (to_service(TCP(sport=4000, dport=80), b"odd"), IPV4_END),
        (to_service(TCP(), dst=FAR), IPV4_END),
        (question(), 42),
    ):
        for length in range(ETHERNET, header):
            assert tap.run_cut(whole, length).said == DROP
            for place in tap.news():
                assert place.reason == DropReason.MALFORMED
    whole = to_service(TCP(sport=4000, dport=80), b"odd")
    for length in range(IPV4_END, len(whole)):
        tap.refuses(bytes(whole)[:length], DropReason.MALFORMED)


@pytest.mark.parametrize(
    "frame",
    [
        to_service(TCP(), mac=OTHER_MAC),
        to_service(TCP(), src="10.0.0.6"),
        to_service(TCP(), src="0.0.0.0"),
        to_service(TCP(), src=IDENTITY),
        to_service(TCP(), src="127.0.0.1"),
    ],
    ids=repr,
)
def test_who_is_not_registered_is_not_served(tap: FromTap, frame: Packet) -> None:
    tap.refuses(frame, DropReason.SPOOFED, frame[IP].src)


def test_a_place_is_one_interface(tap: FromTap) -> None:
    """The same MAC and IP address on another tap are nobody's."""
    for address in (ADDRESS,):
        key = layout.encode_place(
            GuestPlace(LOOPBACK, 0, octets(GUEST_MAC), IPv4Address(address))
        )
        value = tap.maps["identity"].read(key)
        assert value is not None
        tap.maps["identity"].delete(key)
        tap.maps["identity"].write(key[:1] + b"\1" + key[2:], value)
    tap.refuses(to_service(TCP()), DropReason.SPOOFED)


def test_an_address_that_is_not_learned_yet_has_a_reason_of_its_own(
    tap: FromTap,
) -> None:
    tap.register(flags=layout.GuestFlag.LEARNS)
    tap.refuses(to_service(TCP(), src="10.0.0.6"), DropReason.UNLEARNED, "10.0.0.6")
    tap.refuses(to_service(TCP(), mac=OTHER_MAC), DropReason.SPOOFED)
    tap.sends(to_service(TCP()), at_host(TCP()))


@pytest.mark.parametrize("mac", [GUEST_MAC, OTHER_MAC])
@pytest.mark.parametrize("destination", [FAR, SERVICE, "255.255.255.255"])
def test_nobody_sends_from_a_service_address(
    tap: FromTap, mac: str, destination: str
) -> None:
    for upper in (TCP(), UDP(), b"\xff", b""):
        frame = to_service(upper, mac=mac, src=SERVICE, dst=destination)
        tap.refuses(frame, DropReason.CLAIMED, SERVICE)


@pytest.mark.parametrize(
    "frame",
    [
        to_service(TCP(), dst=FAR),
        to_service(UDP(), b"odd", dst="169.254.169.253"),
        to_service(UDP(), dst=FAR, version=6),
        to_service(dst=FAR, ihl=4, len=3),
        to_service(b"x" * 8, dst=FAR, frag=5),
        to_service(TCP(), dst=FAR, mac=OTHER_MAC),
        question(pdst="10.0.0.1"),
        question(pdst="10.0.0.1", op=2),
        question(pdst="10.0.0.1", hwsrc=OTHER_MAC),
        other(0x88CC) / bytes(50),
        other(0x8847) / bytes(50),
        other(40) / bytes(40),
        other(0x88CC) / b"x",
        other(0x88CC),
    ],
    ids=repr,
)
def test_what_does_not_concern_us_passes_untouched(tap: FromTap, frame: Packet) -> None:
    tap.passes(frame)


@pytest.mark.parametrize("address", [ADDRESS, "0.0.0.0", "10.9.9.9"])
@pytest.mark.parametrize("padding", [b"", bytes(18)])
def test_a_request_for_a_service_is_answered(
    tap: FromTap, address: str, padding: bytes
) -> None:
    """Whatever the guest's address: as a probe (RFC 5227) it does not say one."""
    frame = question(psrc=address)
    tap.answers(frame / padding, reply(address) / padding)


@pytest.mark.parametrize(
    "frame",
    [
        question(op=2),
        question(op=0),
        question(op=3),
        question(hwsrc=OTHER_MAC),
        question(hwsrc="02:00:01:00:00:01"),
        Ether(src=OTHER_MAC, dst=BROADCAST) / ARP(hwsrc=OTHER_MAC, pdst=SERVICE),
        Ether(src=OTHER_MAC, dst=BROADCAST) / ARP(hwsrc=GUEST_MAC, pdst=SERVICE),
    ],
    ids=repr,
)
def test_what_else_is_about_a_service_is_dropped(tap: FromTap, frame: Packet) -> None:
    tap.refuses(frame, DropReason.SPOOFED)


@pytest.mark.parametrize("operation", [1, 2])
@pytest.mark.parametrize("target", [SERVICE, ADDRESS, FAR])
def test_nobody_claims_a_service_by_arp(
    tap: FromTap, operation: int, target: str
) -> None:
    frame = question(op=operation, psrc=SERVICE, pdst=target)
    tap.refuses(frame, DropReason.CLAIMED, SERVICE)


@pytest.mark.parametrize("fields", [{"hwlen": 8}, {"plen": 16}, {"hwlen": 0}])
def test_arp_with_addresses_of_other_sizes_is_dropped(
    tap: FromTap, fields: dict[str, int]
) -> None:
    frame = bytearray(bytes(question()))
    frame[18 if "hwlen" in fields else 19] = next(iter(fields.values()))
    tap.refuses(bytes(frame), DropReason.MALFORMED)


def test_what_is_accepted_is_counted_with_time_and_address(tap: FromTap) -> None:
    before = time.monotonic_ns()
    for _ in range(3):
        tap.run(to_service(TCP()))
    tap.run(question())
    tap.run(to_service(TCP(), dst=FAR))
    guest = tap.guest()
    assert guest.packets == 3
    assert before < guest.last < time.monotonic_ns()
    assert guest.last_address == IPv4Address(ADDRESS)


def test_drops_are_counted_for_the_guest_or_else_for_the_tap(tap: FromTap) -> None:
    tap.run(to_service(TCP(), src="10.0.0.6"))
    assert tap.guest().drops[DropReason.SPOOFED] == 1
    assert sum(tap.tap_drops()) == 0
    tap.run(to_service(TCP(), mac=OTHER_MAC))
    assert tap.tap_drops()[DropReason.SPOOFED] == 1
    assert sum(tap.guest().drops) == 1
    assert tap.guest().packets == 0


def test_a_tap_that_is_not_in_the_map_drops_all_the_same(tap: FromTap) -> None:
    tap.maps["tap"].delete(layout.encode_number(LOOPBACK))
    assert tap.run(to_service(TCP(), mac=OTHER_MAC)).said == DROP
    assert len(tap.news()) == 1


def test_each_kind_of_refusal_is_told_once_and_counted(tap: FromTap) -> None:
    """By place and reason; again when there was none of them for a minute."""
    frame = to_service(TCP(), src="10.0.0.6")
    tap.run(frame)
    (place,) = tap.news()
    assert place == GuestPlace(
        LOOPBACK, 0, octets(GUEST_MAC), IPv4Address("10.0.0.6"), DropReason.SPOOFED
    )
    for _ in range(4):
        tap.run(frame)
    assert tap.news() == []
    key = layout.encode_place(place)
    value = tap.maps["refused"].read(key)
    assert value is not None
    assert layout.decode_refused(value).packets == 5
    for ago, told in ((50, []), (61, [place])):
        last = (time.monotonic_ns() - ago * 10**9) % 2**64  # a young machine wraps
        tap.maps["refused"].write(key, value[:8] + last.to_bytes(8, sys.byteorder))
        tap.run(frame)
        assert tap.news() == told
    value = tap.maps["refused"].read(key)
    assert value is not None
    assert time.monotonic_ns() - layout.decode_refused(value).last < 10**10
    tap.run(question(psrc=SERVICE))
    assert [each.reason for each in tap.news()] == [DropReason.CLAIMED]


def test_when_nobody_reads_the_news_frames_are_dropped_all_the_same(
    tap: FromTap,
) -> None:
    for number in range(100):
        frame = to_service(TCP(), src=f"10.0.1.{number}")
        assert tap.run(frame).said == DROP
    assert len(tap.news()) <= 64
    assert tap.guest().drops[DropReason.SPOOFED] == 100


@pytest.mark.parametrize(("tag", "vlan"), [(0, 0), (5, 5), (0xE005, 5), (0xA000, 0)])
def test_a_guest_behind_a_tag_is_served_without_it(
    tap: FromTap, tag: int, vlan: int
) -> None:
    """Priorities do not matter; VLAN 0 is none."""
    tap.register(vlan=vlan, vlan_got=7)
    sent, expected = to_service(TCP(), b"odd"), at_host(TCP(), b"odd")
    assert tap.run_tagged(sent, tag) == (REDIRECT, bytes(expected), None)
    assert tap.guest(vlan).packets == 1
    assert tap.run_tagged(question(), tag) == (REDIRECT, bytes(reply()), 7)
    tap.register(vlan=vlan, vlan_got=0)
    assert tap.run_tagged(question(), tag) == (REDIRECT, bytes(reply()), None)


def test_an_answer_without_a_tag_may_get_one(tap: FromTap) -> None:
    tap.register(vlan_got=9)
    assert tap.run_tagged(question(), None) == (REDIRECT, bytes(reply()), 9)


@pytest.mark.parametrize(
    ("tag", "kind", "vlan"),
    [
        (6, CUSTOMER, 6),
        (5, PROVIDER, 0x8005),
        (0, PROVIDER, 0x8000),
        (4095, CUSTOMER, 4095),
    ],
)
def test_a_place_is_one_vlan(tap: FromTap, tag: int, kind: int, vlan: int) -> None:
    """802.1ad is never the VLAN of a guest; the tag stays on what passes."""
    tap.register(vlan=5)
    for frame in (to_service(TCP()), question(psrc=FAR)):
        assert tap.run_tagged(frame, tag, kind).said == DROP
        (told,) = tap.news()
        assert (told.vlan, told.reason) == (vlan, DropReason.SPOOFED)
    assert tap.run_tagged(to_service(TCP(), src=SERVICE), tag, kind).said == DROP
    frame = to_service(TCP(), dst=FAR)
    assert tap.run_tagged(frame, tag, kind) == (PASS, bytes(frame), tag)


@pytest.mark.parametrize("fast_path", [False, True])
def test_it_loads_with_the_agents_capabilities(fast_path: bool) -> None:
    """The verifier is stricter with a program that lacks CAP_PERFMON."""
    tap = FromTap(fast_path=fast_path)
    said = load_with(AGENT_CAPABILITIES, tap.text, tap.maps.values())
    tap.close()
    assert said == "loaded\n"


def announced(tap: FromTap, frame: Packet) -> list[str]:
    """The addresses that the program tells of this frame, which passes."""
    before = tap.counted()
    assert tap.run(frame, mark=5) == (PASS, bytes(frame), 5)
    assert (tap.counted(), tap.guest().packets) == (before, 0)
    told = tap.news()
    for place in told:
        assert place[:3] == (LOOPBACK, 0, octets(GUEST_MAC))
        assert place.reason == layout.ANNOUNCED
    return [str(place.address) for place in told]


OWN: dict[str, Any] = {"psrc": "10.0.0.6", "pdst": "10.0.0.6"}


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (question(psrc="10.0.0.6", pdst="10.0.0.1"), ["10.0.0.6"]),
        (question(**OWN), ["10.0.0.6"]),
        (question(op=2, **OWN), ["10.0.0.6"]),
        (question(op=2, psrc="10.0.0.6", pdst="10.0.0.1"), []),
        (question(op=3, **OWN), []),
        (question(psrc="0.0.0.0", pdst="10.0.0.6"), []),
        (question(psrc=ADDRESS, pdst="10.0.0.1"), []),
        (question(hwsrc=OTHER_MAC, **OWN), []),
        (question(hwsrc="02:00:01:00:00:01", **OWN), []),
        (Ether(src=OTHER_MAC, dst=BROADCAST) / ARP(hwsrc=OTHER_MAC, **OWN), []),
    ],
    ids=repr,
)
def test_what_a_learning_guest_tells_its_neighbours(
    tap: FromTap, frame: Packet, told: list[str]
) -> None:
    """By requests and announcements from its own MAC address, once; not by replies,
    which a router sends for others, too. Nothing is dropped, and of a port that does
    not learn nothing is told.
    """
    assert [] == announced(tap, frame)
    tap.register(flags=layout.GuestFlag.LEARNS)
    assert told == announced(tap, frame)
    assert [] == announced(tap, frame)
    for place in (key for key, _ in tap.maps["refused"].elements()):
        value = tap.maps["refused"].read(place)
        assert value is not None
        assert layout.decode_refused(value).packets == 2


def test_a_learning_guest_that_asks_for_a_service_tells_its_address(
    tap: FromTap,
) -> None:
    """And is answered; nobody announces a service's address."""
    tap.register(flags=layout.GuestFlag.LEARNS)
    frame = question(psrc="10.0.0.6")
    assert tap.run(frame)[:2] == (REDIRECT, bytes(reply("10.0.0.6")))
    assert ["10.0.0.6"] == [str(place.address) for place in tap.news()]
    tap.refuses(question(psrc=SERVICE, pdst=SERVICE), DropReason.CLAIMED, SERVICE)


@pytest.mark.parametrize(("seconds", "is_told"), [(29, False), (31, True)])
def test_a_guest_that_was_served_lately_is_not_followed(
    tap: FromTap, seconds: int, is_told: bool
) -> None:
    """By its announcements: it may have a second address."""
    tap.register(flags=layout.GuestFlag.LEARNS)
    last = time.monotonic_ns() - seconds * 1_000_000_000
    assert last > 0
    key = layout.encode_guest_key(LOOPBACK, 0, octets(GUEST_MAC))
    guest = replace(tap.guest(), last=last)
    tap.maps["guest"].write(key, layout.encode_guest(guest))
    assert is_told == bool(announced(tap, question(**OWN)))
