"""Identity is the tap: who asks gets their own, and nobody can be somebody else."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from lab.namespaces import PATIENCE, inside

if TYPE_CHECKING:
    from lab.guests import Guest

pytestmark = [pytest.mark.system, pytest.mark.kernel]

SERVICE = "169.254.169.254"
BROADCAST = "ff:ff:ff:ff:ff:ff"
QUIET = 0.5 * PATIENCE
"""Seconds in which a packet that leaks would have been seen: they take microseconds."""
ANSWER = 10.0 * PATIENCE
"""Seconds for a frame that must come."""
ETH_P_ALL = 3
EXIT_CODE = ("-w", "%{exitcode}")
"""Makes curl print its exit code where there is no answer."""
REFUSED = "7"
"""curl's exit code when the connection was refused; a time-out would be 28."""


def wire(namespace: str) -> socket.socket:
    """A raw socket on a machine's eth0."""

    def open_socket() -> socket.socket:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        raw.bind(("eth0", 0))
        return raw

    return inside(namespace, open_socket)


def heard(raw: socket.socket, wanted: Any, least: int = 0) -> list[Packet]:
    """Frames for which `wanted` holds, within a while after there are at least so many
    of them.
    """
    found: list[Packet] = []
    deadline = time.monotonic() + (ANSWER if least else QUIET)
    while (left := deadline - time.monotonic()) > 0:
        raw.settimeout(left)
        try:
            frame = Ether(raw.recv(2048))
        except TimeoutError:
            break
        if wanted(frame):
            found.append(frame)
            if len(found) == least:
                deadline = time.monotonic() + QUIET
    return found


def to_service(frame: Packet) -> bool:
    """Is this a packet to the service address?"""
    return IP in frame and frame[IP].dst == SERVICE


def from_service(frame: Packet) -> bool:
    """Is this an answer of the service?"""
    return IP in frame and frame[IP].src == SERVICE


def syn(guest: Guest, **changes: Any) -> Packet:
    """The frame that opens alice's request; `changes` forge it."""
    source = changes.get("address", guest.address)
    return (
        Ether(src=changes.get("mac", guest.mac), dst="02:de:ad:be:ef:99")
        / IP(src=source, dst=SERVICE)
        / TCP(sport=40001, dport=80, flags="S", seq=1)
    )


def test_everybody_gets_their_own(site: Any, ask: Any) -> None:
    """Two guests with one address, and a routed one: each gets its own documents."""
    guests = (site.alice(), site.bob(), site.carol())
    site.introduce(*guests)
    site.provision()
    for guest in guests:
        facts = json.loads(ask(guest, "/openstack/latest/meta_data.json"))
        assert (guest.instance_id, guest.name) == (facts["uuid"], facts["name"])
        assert f"I am {guest.name}\n" == ask(guest, "/latest/user-data")


def test_headers_change_nobody(site: Any, ask: Any) -> None:
    """Whatever a guest claims in a header, under any spelling, it stays who it is."""
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()
    for name in ("X-Instance-ID", "x-instance-id", "X_Instance_ID", "X-Forwarded-For"):
        answer = ask(
            alice,
            "/openstack/latest/meta_data.json",
            "-H",
            f"{name}: {bob.instance_id}",
        )
        assert alice.instance_id == json.loads(answer)["uuid"]


def test_before_and_after_provisioning_there_is_nothing(site: Any, ask: Any) -> None:
    """The service exists because it was provisioned, and no longer than that; the
    guest is told at once each time. (Contrail: MetadataNoLinkLocalTest.)
    """
    alice = site.alice()
    site.introduce(alice)
    assert REFUSED == ask(alice, "/latest/user-data", *EXIT_CODE)
    site.provision()
    assert "I am alice\n" == ask(alice, "/latest/user-data")
    site.unprovision()
    assert REFUSED == ask(alice, "/latest/user-data", *EXIT_CODE)


def test_a_spoofed_address_or_mac_gets_silence(site: Any) -> None:
    """A source that is not the tap's registered pair is dropped and counted."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    raw = wire(alice.machine.name)
    raw.send(bytes(syn(alice)))
    assert heard(raw, from_service, least=1), "the honest SYN was not answered"
    raw.send(bytes(syn(alice, address="10.0.0.6")))
    raw.send(bytes(syn(alice, mac="02:00:00:00:00:77")))
    assert [] == heard(raw, from_service)
    assert 2 == site.counter("spoofed")
    raw.close()


def test_nothing_for_the_service_leaves_the_tap(site: Any, ask: Any) -> None:
    """No request, refused request, ping or forged SYN reaches the guest's network."""
    alice = site.alice()
    site.introduce(alice)
    gateway = wire(site.gateway("blue"))
    ask(alice, "/latest/user-data")
    site.provision()
    assert "I am alice\n" == ask(alice, "/latest/user-data")
    ask(alice, ":81/", timeout=2)
    raw = wire(alice.machine.name)
    raw.send(bytes(syn(alice, address="10.0.0.6")))
    ping = Ether(src=alice.mac, dst=BROADCAST) / IP(src=alice.address, dst=SERVICE)
    raw.send(bytes(ping / ICMP()))
    assert [] == heard(gateway, to_service)
    raw.close()
    gateway.close()


def test_arp_is_answered_at_the_tap_and_stays_there(site: Any) -> None:
    """An on-link guest gets the answer from its own tap; its network hears nothing."""
    bob = site.bob()
    site.introduce(bob)
    gateway, raw = wire(site.gateway("green")), wire(bob.machine.name)
    question = Ether(src=bob.mac, dst=BROADCAST) / ARP(
        op=1, hwsrc=bob.mac, psrc=bob.address, pdst=SERVICE
    )
    raw.send(bytes(question))
    (answer,) = heard(raw, lambda frame: ARP in frame and frame[ARP].op == 2, least=1)
    assert (SERVICE, "02:00:a9:fe:a9:fe") == (answer[ARP].psrc, answer[ARP].hwsrc)
    assert (bob.address, bob.mac) == (answer[ARP].pdst, answer[ARP].hwdst)
    assert [] == heard(gateway, lambda frame: ARP in frame)
    raw.close()
    gateway.close()


@pytest.mark.parametrize("operation", [1, 2])
def test_a_guest_cannot_claim_the_service_address(site: Any, operation: int) -> None:
    """Gratuitous ARP for a service address ends at the claimant's tap."""
    alice = site.alice()
    site.introduce(alice)
    gateway, raw = wire(site.gateway("blue")), wire(alice.machine.name)
    claim = Ether(src=alice.mac, dst=BROADCAST) / ARP(
        op=operation, hwsrc=alice.mac, psrc=SERVICE, pdst=SERVICE
    )
    raw.send(bytes(claim))
    assert [] == heard(gateway, lambda frame: ARP in frame)
    raw.close()
    gateway.close()


def test_the_listener_is_out_of_reach(site: Any) -> None:
    """Neither a guest that knows its address nor a process of the host gets to it."""
    carol = site.carol()
    site.introduce(carol)
    site.provision()
    for machine in (carol.machine, site.lab.host):
        answer = machine.run(
            "curl", "-s", "-m", "2", "http://169.254.64.1:8097/", check=False
        )
        assert "" == answer


def test_operator_ports_are_out_of_reach(site: Any) -> None:
    """No guest reaches introspection, config API or port API by any address."""
    carol = site.carol()
    site.introduce(carol)
    site.provision()
    for port in (8082, 8085, 9091):
        for address in (SERVICE, "192.0.2.1", "169.254.64.1"):
            url = f"http://{address}:{port}/"
            assert "" == carol.machine.run("curl", "-s", "-m", "1", url, check=False)
