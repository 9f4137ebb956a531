"""IPv6 metadata: a guest by its link-local or registered address, and nothing else."""

from __future__ import annotations

import json
import signal
import uuid
from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from lab.guests import Guest, Wiring
from lab.namespaces import PATIENCE
from lab.waiting import wait_for
from tests.system.test_system_identity import heard, wire

pytestmark = [pytest.mark.system, pytest.mark.kernel]

LINK_LOCAL = "fe80::a9fe:a9fe"
EC2 = "fd00:ec2::254"
SERVICE_MAC = "02:00:a9:fe:a9:fe"
SOLICITED = {LINK_LOCAL: "ff02::1:fffe:a9fe", EC2: "ff02::1:ff00:254"}
SHARED = "2001:db8::5"
"""The address that several guests have."""


def alice(site: Any) -> Guest:
    """On one bridge, with an IPv6 address."""
    made: Guest = site.lab.guest(
        "alice",
        Wiring.BRIDGED,
        address="10.0.0.5/24",
        address6=f"{SHARED}/64",
        gateway="10.0.0.1",
        bridge="blue",
    )
    return made


def bob(site: Any) -> Guest:
    """On another bridge, with the same addresses of both families."""
    made: Guest = site.lab.guest(
        "bob",
        Wiring.ON_LINK,
        address="10.0.0.5/24",
        address6=f"{SHARED}/64",
        gateway="10.0.0.1",
        bridge="green",
    )
    return made


def ask6(guest: Guest, path: str, *options: str, service: str = EC2) -> str:
    """What the guest gets over IPv6; "" for nothing."""
    host = f"{service}%25eth0" if service == LINK_LOCAL else service
    return guest.machine.run(
        *(
            "curl",
            "-g",
            "-sS",
            "-m",
            str(8 * PATIENCE),
            *options,
            f"http://[{host}]{path}",
        ),
        check=False,
    )


def traced(site: Any, text: str) -> bool:
    """Is there a line in the proxy's trace?"""
    page = site.agent.get("http://127.0.0.1:8085/Snh_SandeshTraceRequest?x=Metadata")
    return text in page


def solicitation(guest: Guest, source: str, target: str, **changes: Any) -> Packet:
    """The frame with which a guest asks for a service's MAC address."""
    return (
        Ether(src=changes.get("mac", guest.mac), dst="33:33:ff:fe:a9:fe")
        / IPv6(src=source, dst=SOLICITED[target], hlim=255)
        / ICMPv6ND_NS(tgt=target)
        / ICMPv6NDOptSrcLLAddr(lladdr=guest.mac)
    )


def syn(guest: Guest, source: str, **changes: Any) -> Packet:
    """The frame that opens a request."""
    return (
        Ether(src=changes.get("mac", guest.mac), dst=SERVICE_MAC)
        / IPv6(src=source, dst=changes.get("to", EC2))
        / TCP(sport=40001, dport=changes.get("port", 80), flags="S", seq=1)
    )


def about_service(frame: Packet) -> bool:
    """Does a service address stand in the frame?"""
    return any(bytes(IPv6(dst=each))[24:40] in bytes(frame) for each in SOLICITED)


def from_service(frame: Packet) -> bool:
    """Is this a TCP answer of a service?"""
    return IPv6 in frame and TCP in frame and frame[IPv6].src in SOLICITED


def test_one_address_two_guests_each_its_own(site: Any) -> None:
    """Overlapping IPv6 addresses: each gets its own, at both service addresses, and
    Nova is told the address that it asked from. (Contrail: Metadata6RouteFuncsTest.)
    """
    guests = (alice(site), bob(site))
    site.introduce(*guests)
    site.provision()
    for guest in guests:
        own = wait_for(guest.link_local)
        for service, source in ((EC2, SHARED), (LINK_LOCAL, own)):
            answer = ask6(guest, "/openstack/latest/meta_data.json", service=service)
            assert guest.instance_id == json.loads(answer)["uuid"], service
            assert f"I am {guest.name}\n" == ask6(
                guest, "/latest/user-data", service=service
            )
            assert traced(site, f"GET request for VM : {source}")


def test_both_families_at_once(site: Any, ask: Any) -> None:
    """One guest, one registration, IPv4 and IPv6."""
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    assert "I am alice\n" == ask(guest, "/latest/user-data")
    assert "I am alice\n" == ask6(guest, "/latest/user-data")
    flows = json.loads(site.agent.tool("vagent.ctl", "-o", "json", "flow", "list"))
    assert {SHARED, "10.0.0.5"} == {flow["guest_address"] for flow in flows}


def test_a_guest_with_only_a_link_local_address(site: Any) -> None:
    """Nobody registers link-local addresses; tap and MAC say whose it is. It may change
    it, and an answer still goes back to the one that asked.
    """
    guest = site.alice()
    site.introduce(guest)
    site.provision()
    first = wait_for(guest.link_local)
    assert "I am alice\n" == ask6(guest, "/latest/user-data", service=LINK_LOCAL)
    assert traced(site, f"GET request for VM : {first}")
    for come, gone in (("fe80::bad:cafe", first), (first, "fe80::bad:cafe")):
        guest.machine.run("ip", "addr", "add", f"{come}/64", "dev", "eth0", "nodad")
        guest.machine.run("ip", "addr", "del", f"{gone}/64", "dev", "eth0")
        answer = ask6(guest, "/latest/user-data", service=LINK_LOCAL)
        assert "I am alice\n" == answer
    assert traced(site, "GET request for VM : fe80::bad:cafe")


@pytest.mark.parametrize("service", [LINK_LOCAL, EC2])
def test_neighbour_discovery_is_answered_at_the_tap(site: Any, service: str) -> None:
    """The guest hears who has the service address; its network does not hear it ask.
    (Contrail: Metadata6NlReqTest.)
    """
    guest = alice(site)
    site.introduce(guest)
    source = wait_for(guest.link_local)
    gateway, raw = wire(site.gateway("blue")), wire(guest.machine.name)
    for asks_from in (source, SHARED):
        raw.send(bytes(solicitation(guest, asks_from, service)))
        (answer,) = heard(raw, lambda frame: ICMPv6ND_NA in frame, least=1)
        assert (SERVICE_MAC, guest.mac) == (answer.src, answer.dst)
        assert (service, asks_from, 255) == (
            answer[IPv6].src,
            answer[IPv6].dst,
            answer[IPv6].hlim,
        )
        assert service == answer[ICMPv6ND_NA].tgt
        assert SERVICE_MAC == answer[ICMPv6NDOptDstLLAddr].lladdr
    assert [] == heard(gateway, about_service)
    raw.close()
    gateway.close()


def test_a_spoofed_source_gets_silence(site: Any) -> None:
    """Another address, or another MAC even with a link-local address: dropped, counted,
    and not heard by anybody.
    """
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    own = wait_for(guest.link_local)
    gateway, raw = wire(site.gateway("blue")), wire(guest.machine.name)
    for honest in (SHARED, own):
        raw.send(bytes(syn(guest, honest)))
        assert heard(raw, from_service, least=1), honest
    for forged in (
        syn(guest, "2001:db8::6"),
        syn(guest, "fd40:140:3::1"),
        syn(guest, SHARED, mac="02:00:00:00:00:77"),
        syn(guest, own, mac="02:00:00:00:00:77"),
        solicitation(guest, own, LINK_LOCAL, mac="02:00:00:00:00:77"),
    ):
        raw.send(bytes(forged))
    assert [] == heard(raw, from_service)
    assert 5 == site.counter("spoofed")
    assert [] == heard(gateway, about_service)
    raw.close()
    gateway.close()


def test_a_fragment_is_served_as_a_whole_packet_is(site: Any) -> None:
    """As those of IPv4 are."""
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    raw = wire(guest.machine.name)
    whole = syn(guest, SHARED)
    fragment = (
        Ether(src=guest.mac, dst=SERVICE_MAC)
        / IPv6(src=SHARED, dst=EC2)
        / IPv6ExtHdrFragment(nh=6, m=0, offset=0)
        / IPv6(bytes(whole[IPv6]))[TCP]
    )
    raw.send(bytes(fragment))
    assert heard(raw, from_service, least=1)
    assert 0 == site.counter("spoofed")
    raw.close()


def claims(guest: Guest, own: str) -> list[Packet]:
    """All ways to say that a service address is here."""
    ether = Ether(src=guest.mac, dst="33:33:00:00:00:01")
    everybody: dict[str, Any] = {"dst": "ff02::1", "hlim": 255}
    here = ICMPv6NDOptDstLLAddr(lladdr=guest.mac)
    return [
        ether / IPv6(src=own, **everybody) / ICMPv6ND_NA(tgt=LINK_LOCAL, O=1) / here,
        ether / IPv6(src=SHARED, **everybody) / ICMPv6ND_NA(tgt=EC2, O=1) / here,
        ether / IPv6(src=LINK_LOCAL, **everybody) / ICMPv6ND_NA(tgt=LINK_LOCAL) / here,
        ether / IPv6(src=LINK_LOCAL, **everybody) / ICMPv6ND_RA(),
        ether
        / IPv6(src="::", dst=SOLICITED[LINK_LOCAL], hlim=255)
        / ICMPv6ND_NS(tgt=LINK_LOCAL),
        ether
        / IPv6(src=EC2, dst="ff02::1:ff00:1", hlim=255)
        / ICMPv6ND_NS(tgt="2001:db8::1")
        / ICMPv6NDOptSrcLLAddr(lladdr=guest.mac),
    ]


def test_a_guest_cannot_claim_a_service_address(site: Any) -> None:
    """Advertisements of neighbour and router, duplicate address detection and questions
    from a service address end at the claimant's tap.
    """
    guest = alice(site)
    site.introduce(guest)
    own = wait_for(guest.link_local)
    gateway, raw = wire(site.gateway("blue")), wire(guest.machine.name)
    honest = Ether(src=guest.mac, dst="33:33:00:00:00:01") / IPv6(
        src=own, dst="ff02::1", hlim=255
    )
    raw.send(bytes(honest / ICMPv6ND_NA(tgt=own)))
    assert heard(gateway, lambda frame: ICMPv6ND_NA in frame, least=1), "no way through"
    lies = claims(guest, own)
    for lie in lies:
        raw.send(bytes(lie))
    assert [] == heard(gateway, about_service)
    assert len(lies) == site.counter("claimed")
    raw.close()
    gateway.close()


def test_refusal_is_an_answer(site: Any) -> None:
    """A port that is not provisioned: reset, or ICMPv6 port unreachable, at once, from
    both of the guest's addresses.
    """
    guest = alice(site)
    site.introduce(guest)
    own = wait_for(guest.link_local)
    raw = wire(guest.machine.name)
    for source in (SHARED, own):
        raw.send(bytes(syn(guest, source, port=81)))
        (reset,) = heard(raw, from_service, least=1)
        assert "R" in reset[TCP].flags
        datagram = syn(guest, source)[IPv6].copy()
        datagram.remove_payload()
        question = Ether(src=guest.mac, dst=SERVICE_MAC) / datagram / UDP(dport=53)
        raw.send(bytes(question))
        (told,) = heard(raw, lambda frame: ICMPv6DestUnreach in frame, least=1)
        assert (4, source) == (told[ICMPv6DestUnreach].code, told[IPv6].dst)
    raw.close()


def test_kill_and_restart(site: Any) -> None:
    """While the agent is dead nothing leaves; afterwards all is as it was."""
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    assert "I am alice\n" == ask6(guest, "/latest/user-data")
    assert 0 > site.agent.stop(signal.SIGKILL)
    gateway = wire(site.gateway("blue"))
    assert "" == ask6(guest, "/latest/user-data", "-m", "1")
    assert [] == heard(gateway, about_service)
    gateway.close()
    site.agent.start()
    assert "I am alice\n" == wait_for(lambda: ask6(guest, "/latest/user-data"))
    assert 0 == site.agent.stop()
    assert "" == ask6(guest, "/latest/user-data", "-m", "1")
    site.agent.tool("vagent.ctl", "data-path", "remove")
    left = site.lab.host.run("nft", "list", "tables")
    assert "vagent" not in left


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP])
def test_neighbour_discovery_needs_no_agent(site: Any, how: signal.Signals) -> None:
    """The kernel answers, so a guest that asks again whose a service address is goes on
    with its flows: both the first question, to a group, and one to the address itself.
    """
    guest = alice(site)
    site.introduce(guest)
    source = wait_for(guest.link_local)
    raw = wire(guest.machine.name)
    site.agent.process.send_signal(how)
    if how is not signal.SIGSTOP:
        site.agent.process.wait(20 * PATIENCE)
        site.agent.process = None
    for service in (LINK_LOCAL, EC2):
        for asks_from in (source, SHARED):
            for to in (SOLICITED[service], service):
                question = solicitation(guest, asks_from, service)
                question[IPv6].dst = to
                raw.send(bytes(question))
                (answer,) = heard(raw, lambda frame: ICMPv6ND_NA in frame, least=1)
                assert (service, asks_from) == (answer[IPv6].src, answer[IPv6].dst)
                assert SERVICE_MAC == answer[ICMPv6NDOptDstLLAddr].lladdr
    raw.close()
    if how is signal.SIGSTOP:
        site.agent.process.send_signal(signal.SIGCONT)


def test_the_listener_is_out_of_reach(site: Any) -> None:
    """Nobody gets to it by its own address: no guest, and no process of the host."""
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    guest.machine.run("ip", "-6", "route", "add", "fd40:140::/32", "dev", "eth0")
    for machine in (guest.machine, site.lab.host):
        url = "http://[fd40:140:1::1]:8097/"
        argv = ("curl", "-g", "-s", "-m", "2", url)
        assert "" == machine.run(*argv, check=False)


def test_who_asks_often_is_answered_at_the_tap(site: Any) -> None:
    """Neighbour solicitations cost the host nothing above the tap, whatever address the
    guest asks from.
    """
    guest = alice(site)
    site.introduce(guest)
    raw = wire(guest.machine.name)
    for number in range(100):
        raw.send(bytes(solicitation(guest, f"fe80::{number + 1:x}", EC2)))
    assert 100 == len(heard(raw, lambda frame: ICMPv6ND_NA in frame, least=100))
    raw.close()


def test_an_ipv6_entry_is_honoured(site: Any) -> None:
    """Contrail's `metadata6` at fe80::a9fe:a9fe is the metadata service.
    (Contrail: Metadata6ServerResetTest.)
    """
    guest = alice(site)
    site.introduce(guest)
    site.provision(
        *("--linklocal_service_name", "metadata6"),
        *("--linklocal_service_ip", LINK_LOCAL),
    )
    wait_for(guest.link_local)
    answer = ask6(guest, "/latest/user-data", service=LINK_LOCAL)
    assert "I am alice\n" == answer


def test_a_host_with_ipv6_disabled_serves_ipv4(idle_site: Any, ask: Any) -> None:
    """A reported degradation, never a failure."""
    site = idle_site
    site.lab.host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    site.agent.start()
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    assert "I am alice\n" == ask(guest, "/latest/user-data")
    assert "" == ask6(guest, "/latest/user-data", "-m", "2")
    page = site.agent.get("http://127.0.0.1:8085/Snh_SandeshTraceRequest?x=DataPath")
    assert "IPv6 is not served, IPv4 is: it is disabled on this host" in page
    assert "IPv6 is not served" in site.agent.log.read_text()
    assert "ip6 vagent" not in site.agent.data_path.run("nft", "list", "tables")


def test_several_ports_of_one_tap(site: Any) -> None:
    """Each address is its port's; link-local ones are the first port's, and the next
    one's when that goes.
    """
    guest = alice(site)
    site.introduce(guest)
    second = replace(
        guest, port_id=str(uuid.uuid4()), address="10.0.0.6", address6="2001:db8::6"
    )
    site.agent.register(second)
    site.provision()
    guest.machine.run(*("ip", "addr", "add", "2001:db8::6/64", "dev", "eth0", "nodad"))
    wait_for(guest.link_local)
    for source in (SHARED, "2001:db8::6"):
        told = ask6(guest, "/latest/user-data", "--interface", source)
        assert "I am alice\n" == told
    assert "I am alice\n" == ask6(guest, "/latest/user-data", service=LINK_LOCAL)
    site.agent.tool("vagent.ctl", "port", "del", guest.port_id)
    assert "I am alice\n" == ask6(guest, "/latest/user-data", service=LINK_LOCAL)
    gone = ask6(guest, "/latest/user-data", "--interface", SHARED, "-m", "1")
    assert "" == gone
