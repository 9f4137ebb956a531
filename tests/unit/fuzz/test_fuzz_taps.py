"""The reference of the programs at the taps: scapy judges what it makes of frames."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.fuzz.taps.reference_down import down
from tests.fuzz.taps.reference_up import up
from tests.fuzz.taps.world import Outcome, Tag, Verdict, World
from vagent.datapath.tap.layout import (
    Constants,
    DropReason,
    Guest,
    GuestFlag,
    GuestPlace,
    IdentityEntry,
    Reply,
)

TAP, INDEX = 7, 0x105
MAC, SERVICE_MAC, HOST_MAC = (
    "02:00:00:00:00:01",
    "02:00:a9:fe:a9:fe",
    "02:00:00:00:00:77",
)
SERVICE, SERVICE6 = "169.254.169.254", "fd00:ec2::254"
PAIRS = {
    "ipv4": ("10.0.0.5", "169.254.65.5"),
    "registered": ("2001:db8::5", "fd40:140:105::1"),
    "link-local": ("fe80::a:b:c:d", "fd40:140:105:fefa:a:b:c:d"),
}
INNER = {
    "tcp": TCP(sport=4000, dport=80) / Raw(b"odd"),
    "udp": UDP(sport=4000, dport=53) / Raw(b"even"),
}


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def world_of(vlan: int = 0, got: int = 0) -> World:
    """One guest with an address of each kind."""
    constants = Constants(
        guest_side=1,
        host_mac=octets(HOST_MAC),
        service_mac=octets(SERVICE_MAC),
        identity_base=0xA9FE4000,
        identity_prefix6=bytes.fromhex("fd400140"),
        fast_path=False,
    )
    key = (TAP, vlan, octets(MAC))
    four, six = (IPv4Address(PAIRS["ipv4"][0]), IPv6Address(PAIRS["registered"][0]))
    return World(
        constants,
        frozenset((IPv4Address(SERVICE), IPv6Address(SERVICE6))),
        {
            GuestPlace(*key, four): IdentityEntry(INDEX, IPv4Address("169.254.65.5")),
            GuestPlace(*key, six): IdentityEntry(
                INDEX, IPv6Address(PAIRS["registered"][1])
            ),
        },
        {key: Guest(INDEX, GuestFlag.TAKES_LINK_LOCAL, got)},
        {INDEX: Reply(TAP, 1500, octets(MAC), got, four, six, True)},
    )


def packet(source: str, to: str, inner: Packet, *macs: str) -> bytes:
    from_mac, to_mac = macs
    is_6 = ":" in source
    header = IPv6(src=source, dst=to) if is_6 else IP(src=source, dst=to)
    return bytes(Ether(src=from_mac, dst=to_mac) / header / inner)


@pytest.mark.parametrize("form", PAIRS)
@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
@pytest.mark.parametrize("tag", [None, Tag(0x8100, 5)])
def test_packets_to_and_from_services(
    form: str, inner: Packet, tag: Tag | None
) -> None:
    """As if made with the other addresses, without the tag above, with it below."""
    vlan = tag.control if tag else 0
    world = world_of(vlan, vlan)
    own, identity = PAIRS[form]
    service = SERVICE if form == "ipv4" else SERVICE6
    sent = packet(own, service, inner, MAC, SERVICE_MAC)
    assert up(world, TAP, sent, tag) == Outcome(
        Verdict.REDIRECT, packet(identity, service, inner, MAC, HOST_MAC)
    )
    reply = packet(service, identity, inner, HOST_MAC, SERVICE_MAC)
    assert down(world, reply, None, cut_later=False) == Outcome(
        Verdict.REDIRECT, packet(service, own, inner, SERVICE_MAC, MAC), tag
    )


@pytest.mark.parametrize("form", PAIRS)
def test_errors_are_about_flows_of_the_guest(form: str) -> None:
    """What is quoted has the guest's address below, and its identity above."""
    world = world_of()
    own, identity = PAIRS[form]
    is_4 = form == "ipv4"
    service = SERVICE if is_4 else SERVICE6
    header, error = (IP, ICMP(type=3)) if is_4 else (IPv6, ICMPv6DestUnreach())
    answer = UDP(sport=53, dport=4000, chksum=7) / Raw(b"answer")
    asked = UDP(sport=4000, dport=53, chksum=7) / Raw(b"asked")

    def about(guest: str, *, from_guest: bool) -> Packet:
        if from_guest:
            return error / header(src=service, dst=guest) / answer
        return error / header(src=guest, dst=service) / asked

    sent = packet(own, service, about(own, from_guest=True), MAC, SERVICE_MAC)
    above = packet(identity, service, about(identity, from_guest=True), MAC, HOST_MAC)
    assert up(world, TAP, sent, None) == Outcome(Verdict.REDIRECT, above)
    sent = packet(
        service, identity, about(identity, from_guest=False), HOST_MAC, SERVICE_MAC
    )
    below = packet(service, own, about(own, from_guest=False), SERVICE_MAC, MAC)
    assert down(world, sent, None, cut_later=False).frame == below
    stranger = "10.0.0.6" if is_4 else "2001:db8::6"
    sent = packet(own, service, about(stranger, from_guest=True), MAC, SERVICE_MAC)
    assert up(world, TAP, sent, None).reason is DropReason.ICMP_ERROR


def test_neighbours_are_answered() -> None:
    """By ARP and by neighbour discovery, with the service's MAC."""
    world = world_of()
    own, own6 = PAIRS["ipv4"][0], PAIRS["link-local"][0]
    asked = Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(
        hwsrc=MAC, psrc=own, pdst=SERVICE
    )
    told = Ether(src=SERVICE_MAC, dst=MAC) / ARP(
        op=2, hwsrc=SERVICE_MAC, psrc=SERVICE, hwdst=MAC, pdst=own
    )
    assert up(world, TAP, bytes(asked), None).frame == bytes(told)
    asked = Ether(src=MAC, dst="33:33:00:00:00:01") / IPv6(
        src=own6, dst="ff02::1:ff00:254", hlim=255
    )
    asked /= ICMPv6ND_NS(tgt=SERVICE6)
    told = Ether(src=SERVICE_MAC, dst=MAC) / IPv6(src=SERVICE6, dst=own6, hlim=255)
    told /= ICMPv6ND_NA(R=0, S=1, O=1, tgt=SERVICE6)
    told /= ICMPv6NDOptDstLLAddr(lladdr=SERVICE_MAC)
    assert up(world, TAP, bytes(asked), None).frame == bytes(told)


def test_what_is_not_right_is_dropped_by_name() -> None:
    """And what is for nobody of ours passes."""
    world, udp = world_of(), INNER["udp"]
    own, own6 = PAIRS["ipv4"][0], PAIRS["registered"][0]
    ethernet = Ether(src=MAC, dst=SERVICE_MAC)
    for frame, reason in (
        (ethernet / IP(src=SERVICE, dst=own) / udp, DropReason.CLAIMED),
        (ethernet / IP(src="10.0.0.6", dst=SERVICE) / udp, DropReason.SPOOFED),
        (
            ethernet / Dot1Q(type=0x0800) / IP(src=own, dst=SERVICE) / udp,
            DropReason.STACKED_TAGS,
        ),
        (ethernet / Dot1Q() / Dot1Q() / Raw(b"x"), DropReason.STACKED_TAGS),
        (ethernet / IP(src=own, dst=SERVICE, len=999) / udp, DropReason.MALFORMED),
        (
            ethernet / IPv6(src=own6, dst=SERVICE6) / IPv6ExtHdrDestOpt() / udp,
            DropReason.EXTENSION_HEADER,
        ),
        (
            ethernet / IP(src=own, dst=SERVICE, flags=1, proto=17) / Raw(b"x"),
            DropReason.FRAGMENT,
        ),
        (ethernet / IP(src=own, dst="192.0.2.1") / udp, None),
    ):
        outcome = up(world, TAP, bytes(frame), None)
        assert outcome.reason is reason, frame
        assert (outcome.verdict is Verdict.PASS) == (reason is None)
