"""Who was refused at a tap, and why, is told; a port that learns takes the address that
its guest uses.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from lab.agent import port_add
from lab.guests import Guest, Wiring
from lab.namespaces import LabError, inside
from lab.waiting import wait_for
from tests.system.test_system_identity import SERVICE, syn, wire
from vagent.config.model import DataPathConfig
from vagent.datapath.fast_path.compose import ingress_hook_of
from vagent.datapath.tap.attach import Program, ingress_hook
from vagent.datapath.tap.idioms import PASS, leave
from vagent.datapath.tap.who.in_front import in_front
from vagent.kernel import bpf
from vagent.kernel.bpf_assembler import Code

pytestmark = pytest.mark.system

STRANGER = "02:00:00:00:00:99"
GATEWAY = "02:de:ad:be:ef:99"
META_DATA = "/openstack/latest/meta_data.json"


def traced(site: Any, event: str, name: str = "Taps") -> list[dict[str, Any]]:
    """The entries of a trace with this event, as programs get them."""
    said = site.agent.get(f"http://127.0.0.1:8085/vagent/traces/{name}")
    return [one for one in json.loads(said)["entries"] if one["event"] == event]


def shown(site: Any, guest: Guest) -> dict[str, Any]:
    """The guest's port as `port show` has it."""
    words = ("vagent.ctl", "-o", "json", "port", "show", guest.port_id)
    found: dict[str, Any] = json.loads(site.agent.tool(*words))
    return found


def refused(site: Any, guest: Guest) -> list[dict[str, Any]]:
    """What `port show` has of frames that were taken for somebody else's."""
    everything = shown(site, guest).get("refused", [])
    return [one for one in everything if one["reason"] == "spoofed"]


def judged(site: Any, kind: str) -> list[dict[str, Any]]:
    """The judgements of a kind."""
    said = site.agent.get("http://127.0.0.1:8085/status")
    return [one for one in json.loads(said)["judgements"] if one["kind"] == kind]


def lines(site: Any, words: str) -> list[str]:
    """Lines of the journal with these words."""
    return [one for one in site.agent.log.read_text().splitlines() if words in one]


def tagged(guest: Guest, *tags: int) -> Packet:
    """What opens a connection to the service, behind tags."""
    frame = Ether(src=guest.mac, dst=GATEWAY)
    for tag in tags:
        frame = frame / Dot1Q(vlan=tag)
    return frame / IP(src=guest.address, dst=SERVICE) / TCP(sport=40001, dport=80)


def send(guest: Guest, *frames: Packet) -> None:
    """Let the guest send them."""
    with wire(guest.machine.name) as raw:
        for frame in frames:
            raw.send(bytes(frame))


@pytest.mark.kernel
def test_who_was_refused_is_told(site: Any) -> None:
    """With tap, MAC, address and VLAN as seen and as registered: in trace and journal,
    with the port, on the page, and as a judgement with a remedy.
    """
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    answer = Ether(src=alice.mac, dst=GATEWAY) / IP(src=SERVICE, dst="10.0.0.1")
    sent: tuple[tuple[str, list[str], Packet], ...] = (
        ("spoofed", ["MAC address"], syn(alice, mac=STRANGER)),
        ("claimed", [], answer / UDP(sport=53, dport=40001)),
        ("stacked_tags", ["VLAN"], tagged(alice, 7, 8)),
    )
    send(alice, *(frame for _, _, frame in sent))
    told = wait_for(lambda: traced(site, "GuestRefused"), lambda all_: len(all_) == 3)
    assert [(why, differs) for why, differs, _ in sent] == [
        (one["reason"], one["differs"]) for one in told
    ]
    for one in told:
        assert (alice.port_id, alice.tap) == (one["port_id"], one["tap"])
        assert (alice.mac, 0) == (one["registered_mac"], one["registered_vlan"])
        assert [alice.address] == one["registered_addresses"]
    assert [STRANGER, alice.mac, alice.mac] == [one["mac"] for one in told]
    assert [alice.address, SERVICE] == [one["address"] for one in told[:2]]
    assert [0, 0, 7] == [one["vlan"] for one in told]
    text = f"refused at tap {alice.tap}: spoofed, from {STRANGER} {alice.address}"
    assert 1 == len(lines(site, text))
    send(alice, syn(alice, address="10.0.0.66"), tagged(alice, 7))
    spoofed = wait_for(lambda: refused(site, alice), lambda all_: len(all_) == 3)
    assert {
        (STRANGER, alice.address, "", "MAC address"),
        (alice.mac, "10.0.0.66", "", "address"),
        (alice.mac, alice.address, "VLAN 7", "VLAN"),
    } == {
        (one["mac-address"], one["ip-address"], one["vlan"], *one["differs"])
        for one in spoofed
    }
    page = site.agent.get("http://127.0.0.1:8085/Snh_ItfReq", "-H", "Accept: text/html")
    assert "Refused at the taps" in page
    assert "10.0.0.66" in page
    (one,) = judged(site, "guest-not-as-registered")
    assert ("warning", alice.port_id) == (one["severity"], one["subject"]["id"])
    assert f"registered is {alice.mac} {alice.address}" in one["text"]
    assert "vagentctl port add" in one["remedy"]
    (two,) = judged(site, "guest-claims-service")
    assert f"or claims one: {alice.mac} {SERVICE}, registered is" in two["text"]
    for command in ("status", "doctor"):
        said = site.agent.tool("vagent.ctl", command, check=False)
        for judgement in (one, two):
            assert judgement["text"] in said, command
            assert judgement["remedy"] in said, command
    said = site.agent.tool("vagent.ctl", "port", "show", alice.port_id)
    rows = {tuple(row.split()[:5]) for row in said.splitlines()}
    assert ("spoofed", "1", alice.mac, alice.address, "VLAN") in rows
    assert ("spoofed", "1", STRANGER, alice.address, "-") in rows
    assert ("claimed", "1", alice.mac, SERVICE, "-") in rows
    assert 1 == len(lines(site, f"refused at tap {alice.tap}: spoofed"))


def test_a_guest_that_invents_senders(site: Any) -> None:
    """Is told of once; what is kept of it is bounded, and another guest's is told."""
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()
    macs = (
        f"02:{number >> 8:02x}:{number & 255:02x}:00:00:01" for number in range(1, 2001)
    )
    send(alice, *(syn(alice, mac=mac) for mac in macs))
    send(bob, syn(bob, mac=STRANGER))
    wait_for(lambda: lines(site, f"refused at tap {bob.tap}: spoofed"))
    assert 1 == len(lines(site, f"refused at tap {alice.tap}: spoofed"))
    assert len(wait_for(lambda: refused(site, alice))) <= 16
    wait_for(lambda: refused(site, bob))
    assert 2001 <= site.counter("spoofed")


def test_a_tap_without_a_port(site: Any) -> None:
    """What is refused there is told without a port; beside a registered one it is a
    note, with what mends it.
    """
    alice = site.alice()
    site.lab.guest(
        "dave", Wiring.BRIDGED, address="10.0.0.7/24", gateway="10.0.0.1", bridge="blue"
    )
    site.introduce(alice)
    assert 0 == site.agent.stop()
    site.agent.start()
    (one,) = wait_for(lambda: judged(site, "taps-without-port"))
    assert ("note", "host") == (one["severity"], one["subject"]["kind"])
    assert "tap-dave" in one["text"]
    assert alice.tap not in one["text"]
    assert "vagentctl port add" in one["remedy"]


def learning(site: Any, guest: Guest) -> None:
    """Register the guest's port without an address, to learn it."""
    words = port_add(guest)
    at = words.index("--ip")
    site.agent.tool(*words[:at], *words[at + 2 :], "--learn")


def has_address(site: Any, guest: Guest, address: str) -> bool:
    """Is it the port's now?"""
    return bool(shown(site, guest)["ip-address"] == address)


def readdress(guest: Guest, address: str) -> None:
    """Give the guest another address, as its DHCP server might."""
    run = guest.machine.run
    run("ip", "-4", "address", "flush", "dev", "eth0")
    run("ip", "address", "add", f"{address}/24", "dev", "eth0")
    run("ip", "route", "replace", "default", "via", "10.0.0.1")


@pytest.mark.kernel
def test_a_port_learns_and_follows_the_address_of_its_guest(
    site: Any, ask: Any
) -> None:
    """Durably: kept by a restart, and taken from nobody else. What it takes is never a
    service's address, nor one of the agent's.
    """
    alice = site.alice()
    site.introduce(alice)
    site.agent.tool("vagent.ctl", "port", "del", alice.port_id)
    site.provision()
    learning(site, alice)
    assert "0.0.0.0" == shown(site, alice)["ip-address"]
    identities = []
    for address in (alice.address, "10.0.0.77"):
        readdress(alice, address)
        assert alice.instance_id == json.loads(ask(alice, META_DATA))["uuid"]
        found = shown(site, alice)
        assert (True, address) == (found["learn"], found["ip-address"])
        identities.append(found["mdata-ip"])
    learned = traced(site, "AddressLearned", "Ports")
    assert [(alice.address, ""), ("10.0.0.77", alice.address)] == [
        (one["address"], one["before"]) for one in learned
    ]
    assert identities[0] != identities[1]  # so the flows of the one before end
    send(alice, syn(alice, address="169.254.64.1"))
    wait_for(lambda: traced(site, "AddressNotLearned"), seconds=30)
    site.agent.stop(signal.SIGKILL)
    site.agent.start()
    assert ("10.0.0.77", identities[1]) == (
        shown(site, alice)["ip-address"],
        site.identity(alice),
    )
    assert alice.instance_id == json.loads(ask(alice, META_DATA))["uuid"]
    page = site.agent.get("http://127.0.0.1:8085/Snh_ItfReq", "-H", "Accept: text/html")
    assert "10.0.0.77 (learned)" in page


@pytest.mark.kernel
def test_a_port_learns_from_arp(site: Any, ask: Any) -> None:
    """A guest that has only asked for its gateway is served at once; so is one with
    another address since. Nothing of it was refused.
    """
    alice = site.alice()
    site.introduce(alice)
    site.agent.tool("vagent.ctl", "port", "del", alice.port_id)
    site.provision()
    learning(site, alice)
    for address in (alice.address, "10.0.0.77"):
        readdress(alice, address)
        alice.machine.run("ip", "neigh", "flush", "dev", "eth0")
        # Nobody need answer: the question tells who asks.
        alice.machine.run("curl", "-s", "-m", "1", "http://10.0.0.1/", check=False)
        wait_for(partial(has_address, site, alice, address))
    assert alice.instance_id == json.loads(ask(alice, META_DATA))["uuid"]
    assert 0 == site.counter("unlearned")
    assert [] == shown(site, alice).get("refused", [])


def test_a_port_that_learns_is_alone(site: Any) -> None:
    """Refused at the door, with the reason; on another VLAN of the tap it may stand."""
    alice = site.alice()
    site.introduce(alice)
    other = replace(alice, port_id=alice.port_id[:-4] + "ffff")
    with pytest.raises(LabError, match="a port that learns its address must be alone"):
        learning(site, other)
    words = port_add(other)
    at = words.index("--ip")
    site.agent.tool(*words[:at], *words[at + 2 :], "--learn", "--vlan", "7")
    assert shown(site, other)["learn"]


def test_programs_of_others_in_front(site: Any) -> None:
    """The doctor finds them, by tap."""
    alice = site.alice()
    site.introduce(alice)
    config = DataPathConfig()

    def found() -> tuple[tuple[str, str], ...]:
        hook = partial(ingress_hook_of, config)
        return in_front(
            hook, "vagent", (alice.tap, "gone"), files=site.lab.host.bpf_files
        )

    def attach() -> None:
        code = Code()
        leave(code, PASS)
        program = bpf.load(code.assembled())
        try:
            other = ingress_hook(is_first=True, handle=77, name="other")
            other.attach(socket.if_nametoindex(alice.tap), Program.of(program))
        finally:
            os.close(program)

    assert () == inside(site.lab.host.name, found)
    inside(site.lab.host.name, attach)
    ((tap, program),) = inside(site.lab.host.name, found)
    assert alice.tap == tap
    assert "program" in program or "filter other" in program


IMPATIENT = """
import sys
from vagent.datapath.tap.who import survey
survey.SURVEY_SECONDS, survey.SILENT_SECONDS = 0.2, 1.0
from vagent import cli
sys.argv[1:] = sys.argv[4:]
sys.exit(cli.main())
"""
"""Runs the agent whose command line follows, which looks for silent guests five times a
second and waits a second for them, not ten minutes."""


def test_ports_that_never_asked(idle_site: Any, ask: Any) -> None:
    """Are a note with what tries their path, until they ask; a guest that asks is not
    named, nor is one whose tap is not there.
    """
    idle_site.agent.prefix = (sys.executable, "-c", IMPATIENT)
    idle_site.agent.start()
    alice, bob = idle_site.alice(), idle_site.bob()
    idle_site.introduce(alice, bob)
    away = replace(bob, port_id=bob.port_id[:-4] + "ffff", tap="tap-away")
    idle_site.agent.register(away)
    idle_site.provision()
    assert alice.instance_id == json.loads(ask(alice, META_DATA))["uuid"]

    def silent() -> list[dict[str, Any]]:
        found = judged(idle_site, "ports-never-asked")
        return [one for one in found if one["text"].startswith("1 guest has not asked")]

    (one,) = wait_for(silent)
    assert ("note", "host") == (one["severity"], one["subject"]["kind"])
    assert f"{bob.tap} ({bob.port_id})" in one["text"]
    assert "vagentctl explain --port UUID" in one["remedy"]
    for command in ("status", "doctor"):
        said = idle_site.agent.tool("vagent.ctl", command, check=False)
        assert one["text"] in " ".join(said.split()), command
    assert bob.instance_id == json.loads(ask(bob, META_DATA))["uuid"]
    wait_for(lambda: not judged(idle_site, "ports-never-asked"))
