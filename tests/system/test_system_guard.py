"""What could carry a service address past the tap, does not: stacked tags, and a
service address as the source.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6MLReport2,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from lab.guests import Guest
from tests.system.test_system_identity import (
    BROADCAST,
    SERVICE,
    from_service,
    heard,
    wire,
)
from tests.system.test_system_ipv6 import EC2, SHARED, alice
from tests.system.test_system_vlan import claims, questions

pytestmark = [pytest.mark.system, pytest.mark.kernel]

Q, AD = 0x8100, 0x88A8
STACKS = (
    ((Q, 0), (Q, 0)),
    ((Q, 7), (Q, 0)),
    ((AD, 0), (Q, 0)),
    ((AD, 7), (Q, 8)),
    ((Q, 0), (AD, 0)),
    ((Q, 0), (0x9100, 0)),
    ((0x9100, 0),),
    ((0x9200, 7),),
    ((0x9300, 7),),
)
"""Type and VLAN of the tags of a frame, the outer one first. The kernel does not know
0x9100 and its like: to it even one such tag stands where a second would.
"""
DEEPER = (
    ((Q, 0), (Q, 0), (Q, 0)),
    ((AD, 7), (Q, 7), (Q, 7)),
    ((0x9100, 0), (Q, 0)),
    ((Q, 0), (0x9300, 0), (AD, 0), (Q, 0)),
)


def stacked(frame: Packet, tags: tuple[tuple[int, int], ...]) -> bytes:
    """The frame with these tags in place of its own one."""
    raw = bytes(frame)
    listed = b"".join(struct.pack("!HH", kind, vlan) for kind, vlan in tags)
    return raw[:12] + listed + raw[16:]


def about_a_service(frame: Packet) -> bool:
    """Does a service address stand anywhere in the frame, as bytes?"""
    raw = bytes(frame)
    words = (IP(dst=SERVICE).build()[16:20], IPv6(dst=EC2).build()[24:40])
    return any(word in raw for word in words) or bytes.fromhex("a9fea9fe") in raw


def has_tag_inside(frame: Packet) -> bool:
    """Did the frame have two tags, or one that the kernel does not know? A raw socket
    sees it without the first one.
    """
    return frame.type in {Q, AD, 0x9100, 0x9200, 0x9300}


def tagged(guest: Guest) -> Packet:
    """The beginning of a frame to everybody, with one tag."""
    return Ether(src=guest.mac, dst=BROADCAST) / Dot1Q(vlan=0)


def more_questions(guest: Guest) -> list[Packet]:
    """What mentions a service address in ways of its own, with one tag."""
    six = IPv6(src=SHARED, dst="2001:db8::1", hlim=255)
    return [
        tagged(guest) / IP(src=SERVICE, dst="10.0.0.1") / UDP(sport=53, dport=40001),
        tagged(guest) / IPv6(src=EC2, dst="2001:db8::1") / TCP(sport=80, dport=40001),
        tagged(guest) / six / ICMPv6ND_Redirect(tgt="2001:db8::9", dst=EC2),
        tagged(guest) / six / IPv6ExtHdrDestOpt() / UDP(sport=1, dport=2),
        tagged(guest) / six / IPv6ExtHdrHopByHop() / TCP(sport=1, dport=80),
    ]


def honest(guest: Guest) -> list[Packet]:
    """What a guest with stacked VLANs of its own may send, with one tag."""
    report = IPv6ExtHdrHopByHop(options=[RouterAlert()]) / ICMPv6MLReport2()
    return [
        tagged(guest) / IP(src=guest.address, dst="10.0.0.1") / ICMP(),
        tagged(guest)
        / ARP(op=1, hwsrc=guest.mac, psrc=guest.address, pdst="10.0.0.1")
        / (b"\0" * 18),
        tagged(guest) / IPv6(src=SHARED, dst="2001:db8::1") / TCP(dport=80),
        tagged(guest) / IPv6(src=SHARED, dst="ff02::2", hlim=255) / ICMPv6ND_RS(),
        tagged(guest) / IPv6(src=SHARED, dst="ff02::16", hlim=1) / report,
    ]


def test_no_stack_of_tags_carries_a_service_address(site: Any) -> None:
    """Question, claim or plain packet, over IPv4, IPv6 and ARP: dropped at the tap and
    counted by name, whatever the tags' types and VLANs.
    """
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    gateway, raw = wire(site.gateway("blue")), wire(guest.machine.name)
    tag = Dot1Q(vlan=0)
    frames = [*questions(guest, tag), *claims(guest, tag), *more_questions(guest)]
    sent = [stacked(frame, tags) for tags in STACKS + DEEPER for frame in frames]
    for each in sent:
        raw.send(each)
    assert [] == heard(gateway, has_tag_inside), "it got through"
    assert [] == heard(raw, about_a_service), "somebody answered"
    assert len(sent) == site.counter("stacked_tags")
    assert 0 == site.counter("spoofed") + site.counter("claimed")
    raw.close()
    gateway.close()


def test_a_guests_own_stacked_vlans_pass(site: Any) -> None:
    """Two tags and no service address: not our business. Three tags are dropped, as
    nft cannot look behind them.
    """
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    gateway, raw = wire(site.gateway("blue")), wire(guest.machine.name)
    frames = honest(guest)
    sent = [stacked(frame, tags) for tags in STACKS for frame in frames]
    for each in sent:
        raw.send(each)
    seen = heard(gateway, has_tag_inside, least=len(sent))
    assert len(sent) == len(seen)
    assert 0 == site.counter("stacked_tags")
    for tags in DEEPER:
        raw.send(stacked(frames[0], tags))
    assert [] == heard(gateway, has_tag_inside)
    assert len(DEEPER) == site.counter("stacked_tags")
    raw.close()
    gateway.close()


def test_no_guest_reaches_the_hosts_own_metadata_service(site: Any) -> None:
    """A host in a cloud has one upstream, at the same address. The kernel takes tags of
    VLAN 0 off and routes what they carry; of a guest's it gets none for the service.
    """
    guest = site.carol()
    site.introduce(guest)
    site.provision()
    cloud, raw = wire(site.uplink()), wire(guest.machine.name)
    mac = site.lab.host.run("cat", f"/sys/class/net/{guest.tap}/address").strip()
    begin = Ether(src=guest.mac, dst=mac) / Dot1Q(vlan=0)
    bare: tuple[tuple[int, int], ...] = ()
    twice = ((Q, 0), (Q, 0))
    for tags in (bare, twice, (*twice, (Q, 0)), ((AD, 0), (Q, 0))):
        for to in (SERVICE, "198.51.100.1"):
            packet = IP(src=guest.address, dst=to) / TCP(sport=40001, dport=80)
            raw.send(stacked(begin / packet, tags) if tags else bytes(begin / packet))

    def of_guest(frame: Packet) -> bool:
        return TCP in frame and frame[IP].src == guest.address

    routed = heard(cloud, of_guest, least=3)
    assert {"198.51.100.1"} == {frame[IP].dst for frame in routed}
    assert 3 == len(routed), (
        "with two tags of VLAN 0 it is routed, with three it is not"
    )
    assert 4 == site.counter("stacked_tags")
    raw.close()
    cloud.close()


def test_a_guest_cannot_speak_as_a_service(site: Any) -> None:
    """IPv4 packets from a service address (a datagram's answer, a reset, a redirect)
    end at the tap, with a tag or without one, and are counted as claims.
    """
    guest = alice(site)
    site.introduce(guest)
    gateway, raw = wire(site.gateway("blue")), wire(guest.machine.name)
    source = IP(src=SERVICE, dst="10.0.0.1")
    packets = (
        source / UDP(sport=53, dport=40001),
        source / TCP(sport=80, dport=40001, flags="R"),
        source / ICMP(type=5, gw=guest.address) / IP(src="10.0.0.1") / UDP(),
        IP(src=SERVICE, dst=SERVICE) / UDP(),
    )
    for packet in packets:
        for begin in (tagged(guest), Ether(src=guest.mac, dst=BROADCAST)):
            raw.send(bytes(begin / packet))
    assert [] == heard(gateway, from_service)
    assert 2 * len(packets) == site.counter("claimed")
    raw.close()
    gateway.close()
