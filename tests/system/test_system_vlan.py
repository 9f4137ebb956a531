"""Guests whose frames carry a VLAN tag: known by it, and answered with it."""

from __future__ import annotations

import json
import socket
import struct
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet

from lab import vlan
from lab.agent import port_add
from lab.guests import Guest
from lab.waiting import wait_for
from tests.system.test_system_identity import (
    ANSWER,
    BROADCAST,
    QUIET,
    SERVICE,
    heard,
    wire,
)
from tests.system.test_system_ipv6 import (
    EC2,
    LINK_LOCAL,
    SERVICE_MAC,
    SHARED,
    about_service,
    alice,
    ask6,
    bob,
)
from tests.system.test_system_life import port_state

MISSING = vlan.missing()
pytestmark = [pytest.mark.system, pytest.mark.kernel]
needs_vlan = pytest.mark.skipif(
    bool(MISSING), reason=f"{MISSING}; see make test-stock-kernel"
)

USER_DATA = "/latest/user-data"
SOL_PACKET, PACKET_AUXDATA = 263, 8
_AUXDATA = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata (linux/if_packet.h); the tag's VLAN is its last but one."""


def tagged(site: Any, guest: Guest, number: int, port_id: str = "") -> Guest:
    """The guest's port in a VLAN, registered; its kernel knows the VLAN too."""
    name = vlan.add(guest.machine, "eth0", number)
    run = guest.machine.run
    run("ip", "address", "flush", "dev", "eth0", "scope", "global")
    run("ip", "address", "replace", f"{guest.address}/24", "dev", name)
    run("ip", "route", "replace", "169.254.0.0/16", "dev", name)
    run("ip", "address", "replace", f"{SHARED}/64", "dev", name, "nodad")
    run("ip", "-6", "route", "replace", EC2, "dev", name)
    made = replace(guest, port_id=port_id or guest.port_id)
    site.agent.tool(*port_add(made), "--vlan", str(number))
    return made


def introduce(site: Any, guest: Guest, number: int) -> Guest:
    """The same, and the instance is known."""
    site.introduce(guest)
    return tagged(site, guest, number)


def own_address(guest: Guest, interface: str) -> str:
    """The link-local address of an interface, when it has one."""

    def shown() -> str:
        said = guest.machine.run(
            *("ip", "-6", "-o", "addr", "show", "dev", interface),
            *("scope", "link", "-tentative"),
        )
        return said.split()[3].partition("/")[0] if said else ""

    found: str = wait_for(shown)
    return found


def heard_with_tags(raw: socket.socket) -> list[tuple[int, Packet]]:
    """VLAN and frame of all that comes, until the wire has been quiet for a while. The
    kernel hands the tag over beside the frame.
    """
    raw.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    found = []
    raw.settimeout(ANSWER)
    with suppress(TimeoutError):
        while True:
            data, beside, _, _ = raw.recvmsg(2048, 256)
            tags = [
                _AUXDATA.unpack_from(each)[5] & 0xFFF
                for level, kind, each in beside
                if (level, kind) == (SOL_PACKET, PACKET_AUXDATA)
            ]
            found.append((*tags, Ether(data)))
            raw.settimeout(2 * QUIET)
    return found


def questions(guest: Guest, tag: Packet) -> list[Packet]:
    """What a guest may ask of a service, behind a tag."""
    ether = Ether(src=guest.mac, dst=SERVICE_MAC) / tag
    return [
        ether / IP(src=guest.address, dst=SERVICE) / TCP(sport=40001, dport=80),
        ether / IPv6(src=SHARED, dst=EC2) / TCP(sport=40001, dport=80),
        ether
        / ARP(op=1, hwsrc=guest.mac, psrc=guest.address, pdst=SERVICE)
        / (b"\0" * 18),
        ether
        / IPv6(src=SHARED, dst="ff02::1:fffe:a9fe", hlim=255)
        / ICMPv6ND_NS(tgt=LINK_LOCAL),
    ]


def claims(guest: Guest, tag: Packet) -> list[Packet]:
    """Ways to say that a service address is here, behind a tag."""
    ether = Ether(src=guest.mac, dst=BROADCAST) / tag
    here = ICMPv6NDOptDstLLAddr(lladdr=guest.mac)
    everybody: dict[str, Any] = {"dst": "ff02::1", "hlim": 255}
    return [
        *(
            ether / ARP(op=op, hwsrc=guest.mac, psrc=SERVICE, pdst=SERVICE)
            for op in (1, 2)
        ),
        ether / IPv6(src=SHARED, **everybody) / ICMPv6ND_NA(tgt=EC2, O=1) / here,
        ether / IPv6(src=LINK_LOCAL, **everybody) / ICMPv6ND_RA(),
        ether
        / IPv6(src="::", dst="ff02::1:fffe:a9fe", hlim=255)
        / ICMPv6ND_NS(tgt=LINK_LOCAL),
    ]


def of_service(frame: Packet) -> bool:
    """Does any service address stand in the frame?"""
    packed = IP(dst=SERVICE).build()[16:20]
    return packed in bytes(frame) or about_service(frame)


@pytest.mark.parametrize("tag", [Dot1Q(vlan=7), Dot1AD(vlan=7), Dot1AD(vlan=0)])
def test_a_tagged_frame_of_a_port_without_vlan_is_nobodys(
    site: Any, tag: Packet
) -> None:
    """It is dropped at the tap and counted, whatever it asks."""
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    gateway, raw = wire(site.gateway("blue")), wire(guest.machine.name)
    honest = Ether(src=guest.mac, dst=BROADCAST) / tag
    raw.send(bytes(honest / IP(src=guest.address, dst="10.0.0.1") / ICMP()))
    assert heard(gateway, lambda frame: ICMP in frame, least=1), "no tag gets through"
    asked = questions(guest, tag)
    for question in asked:
        raw.send(bytes(question))
    assert [] == heard(gateway, of_service), site.agent.log.read_text()
    assert [] == heard(raw, of_service)
    assert len(asked) == site.counter("spoofed")
    raw.close()
    gateway.close()


def test_a_tagged_claim_ends_at_the_tap(site: Any) -> None:
    """ARP, neighbour and router advertisements for a service address, in any VLAN."""
    guest = alice(site)
    site.introduce(guest)
    gateway, raw = wire(site.gateway("blue")), wire(guest.machine.name)
    lies = [lie for tag in (Dot1Q(vlan=7), Dot1Q(vlan=0)) for lie in claims(guest, tag)]
    for lie in lies:
        raw.send(bytes(lie))
    assert [] == heard(gateway, of_service)
    assert len(lies) == site.counter("claimed")
    raw.close()
    gateway.close()


def test_a_priority_tag_names_no_vlan(site: Any) -> None:
    """A guest that only marks its frames' priority is served as without a tag."""
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    raw = wire(guest.machine.name)
    for question in questions(guest, Dot1Q(vlan=0, prio=5)):
        raw.send(bytes(question))
    answers = heard(raw, lambda frame: frame.src == SERVICE_MAC, least=4)
    kinds = {
        kind for frame in answers for kind in (ARP, TCP, ICMPv6ND_NA) if kind in frame
    }
    assert {ARP, TCP, ICMPv6ND_NA} == kinds
    assert {SERVICE, EC2} <= {
        frame[IP].src if IP in frame else frame[IPv6].src
        for frame in answers
        if TCP in frame
    }
    raw.close()


@needs_vlan
def test_a_tagged_guest_and_an_untagged_one_get_their_own(site: Any, ask: Any) -> None:
    """Same addresses, two bridges; IPv4 and IPv6, ARP and neighbour discovery."""
    his, hers = bob(site), alice(site)
    site.introduce(his)
    introduce(site, hers, 100)
    site.provision()
    assert "Active" == port_state(site, hers)
    own = own_address(hers, "eth0.100")
    for guest in (hers, his):
        answer = ask(guest, "/openstack/latest/meta_data.json")
        assert guest.instance_id == json.loads(answer)["uuid"]
        assert f"I am {guest.name}\n" == ask6(guest, USER_DATA)
    zoned = f"http://[{LINK_LOCAL}%25eth0.100]{USER_DATA}"
    got = hers.machine.run("curl", "-g", "-sS", "-m", "8", zoned)
    assert "I am alice\n" == got
    page = site.agent.get("http://127.0.0.1:8085/Snh_SandeshTraceRequest?x=Metadata")
    for source in (SHARED, own):
        assert f"GET request for VM : {source}" in page


@needs_vlan
def test_a_guest_without_its_tag_is_nobody(site: Any) -> None:
    """Neither untagged nor in another VLAN; with its own it is somebody."""
    guest = alice(site)
    introduce(site, guest, 100)
    site.provision()
    raw = wire(guest.machine.name)
    for tag in (Dot1Q(vlan=0), Dot1Q(vlan=101)):
        for question in questions(guest, tag):
            raw.send(bytes(question))
    assert [] == heard(raw, lambda frame: frame.src == SERVICE_MAC)
    assert 8 == site.counter("spoofed")
    for question in questions(guest, Dot1Q(vlan=100, prio=3)):
        raw.send(bytes(question))
    assert 4 <= len(heard(raw, lambda frame: frame.src == SERVICE_MAC, least=4))
    raw.close()


@needs_vlan
def test_replies_have_the_tag_that_the_port_gets(site: Any) -> None:
    """Contrail's rx and tx VLAN may differ; both in kernel-made and in own frames."""
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    port = json.loads(
        site.agent.tool("vagent.ctl", "-o", "json", "port", "show", guest.port_id)
    )
    body = {
        **port,
        "rx-vlan-id": 100,
        "tx-vlan-id": 101,
        "ip6-address": port["v6-ip-address"],
    }
    site.agent.get(
        "http://127.0.0.1:9091/port", "-X", "POST", "-d", json.dumps(body), "-f"
    )
    raw = wire(guest.machine.name)
    refused = Ether(src=guest.mac, dst=SERVICE_MAC) / Dot1Q(vlan=100)
    for frame in (
        *questions(guest, Dot1Q(vlan=100)),
        refused / IP(src=guest.address, dst=SERVICE) / UDP(dport=53),
        refused / IP(src=guest.address, dst=SERVICE) / TCP(dport=81),
    ):
        raw.send(bytes(frame))
    answers = [
        (number, frame)
        for number, frame in heard_with_tags(raw)
        if frame.src == SERVICE_MAC
    ]
    assert {101} == {number for number, _ in answers}
    for kind in (ARP, TCP, ICMP, ICMPv6ND_NA):
        assert any(kind in frame for _, frame in answers), kind
    raw.close()


@needs_vlan
def test_one_address_in_two_vlans_of_one_tap(site: Any, ask: Any) -> None:
    """Two networks of one instance: each port has its own identity, and deleting one
    leaves the other alone.
    """
    guest = alice(site)
    introduce(site, guest, 100)
    site.provision()
    assert "I am alice\n" == ask(guest, USER_DATA)
    second = tagged(site, guest, 200, str(uuid.uuid4()))
    assert site.identity(guest) != site.identity(second)
    guest.machine.run("ip", "address", "flush", "dev", "eth0.100", "scope", "global")
    guest.machine.run("ip", "route", "replace", "169.254.0.0/16", "dev", "eth0.200")
    assert "I am alice\n" == ask(guest, USER_DATA)
    flows = json.loads(site.agent.tool("vagent.ctl", "-o", "json", "flow", "list"))
    ports = {flow["port_id"] for flow in flows}
    assert {guest.port_id, second.port_id} == ports
    site.agent.tool("vagent.ctl", "port", "del", guest.port_id)
    assert "I am alice\n" == ask(guest, USER_DATA)


@pytest.fixture
def subinterface(site: Any) -> Guest:
    """A guest whose tap is a VLAN interface of the host's, on a port of no bridge."""
    guest = alice(site)
    host = site.lab.host
    host.run("ip", "link", "set", guest.tap, "nomaster")
    name = vlan.add(host, guest.tap, 100)
    host.run("ip", "link", "set", name, "master", "blue")
    return replace(guest, tap=name)


@needs_vlan
def test_a_vlan_interface_of_the_host_may_be_the_tap(
    site: Any, subinterface: Guest, ask: Any
) -> None:
    """The kernel has taken the tag off before we look, and puts it on again."""
    site.introduce(subinterface)
    guest = subinterface
    run = guest.machine.run
    name = vlan.add(guest.machine, "eth0", 100)
    run("ip", "address", "flush", "dev", "eth0", "scope", "global")
    run("ip", "address", "add", f"{guest.address}/24", "dev", name)
    run("ip", "route", "replace", "default", "via", "10.0.0.1")
    run("ip", "address", "add", f"{SHARED}/64", "dev", name, "nodad")
    run("ip", "-6", "route", "replace", EC2, "dev", name)
    site.provision()
    assert "I am alice\n" == ask(guest, USER_DATA)
    assert "I am alice\n" == ask6(guest, USER_DATA)
