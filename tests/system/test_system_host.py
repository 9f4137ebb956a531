"""Host to guest: processes of the host reach guests by identity, if they may at all."""

from __future__ import annotations

import json
import socket
import sys
from functools import partial
from ipaddress import IPv6Address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from lab.agent import configuration
from lab.guests import Guest, Wiring
from lab.namespaces import PATIENCE, inside
from lab.waiting import wait_for
from tests.system.test_system_identity import heard, wire
from tests.system.test_system_life import port_state

pytestmark = [pytest.mark.system, pytest.mark.kernel]

SERVICE = "169.254.169.254"
SERVICE6 = "fd00:ec2::254"
PORT = 2222
BEYOND = "02:00:00:00:be:01"
"""Source MAC of what comes from beyond: a bridge drops a frame from none."""
PATIENT = 5 * PATIENCE
BRIEF = 1 * PATIENCE
"""Seconds in which an answer would have come: it takes less than one of them."""
WHO = """
import socket, threading
def tcp():
    listener = socket.create_server(("::", 2222), family=socket.AF_INET6,
                                    dualstack_ipv6=True)
    while True:
        peer, where = listener.accept()
        threading.Thread(target=answer, args=(peer, where[0])).start()
def answer(peer, who):
    while peer.recv(100):
        peer.sendall(f"{who} asks {NAME} at {peer.getsockname()[0]}".encode())
threading.Thread(target=tcp).start()
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(("::", 2222))
while True:
    data, peer = server.recvfrom(100)
    server.sendto(f"{peer[0]} asks {NAME}".encode(), peer)
"""
"""A guest's server: answers with who asked. Both families in one socket."""


def serve(site: Any, guest: Guest) -> None:
    """Let a guest answer on PORT."""
    server = f"NAME = {guest.name!r}\n{WHO}"
    site.started.append(guest.machine.start([sys.executable, "-c", server]))
    for option in ("-ltn", "-lun"):
        wait_for(
            partial(guest.machine.run, "ss", option), lambda said: f":{PORT}" in said
        )


def asked(site: Any, to: str, kind: int, seconds: float = PATIENT) -> str:
    """What a process of the host is answered at an identity; "" for nothing."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET

    def ask() -> str:
        with socket.socket(family, kind) as peer:
            peer.settimeout(seconds)
            try:
                peer.connect((to, PORT))
                peer.sendall(b"who?")
                return peer.recv(100).decode().replace("::ffff:", "")
            except OSError:
                return ""

    return inside(site.lab.host.name, ask)


def pinged(site: Any, to: str, seconds: float = PATIENT) -> bool:
    """Does an echo request of the host come back from the identity?"""

    def ping() -> bool:
        with socket.socket(
            socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP
        ) as peer:
            peer.settimeout(seconds)
            try:
                peer.sendto(bytes(ICMP(id=7) / b"hello"), (to, 0))
                answer = IP(peer.recv(1000))
            except OSError:
                return False
            return (to, 0, b"hello") == (
                answer.src,
                answer[ICMP].type,
                bytes(answer[ICMP].payload),
            )

    return inside(site.lab.host.name, ping)


def identity6(site: Any, guest: Guest) -> str:
    """The identity of a guest's registered IPv6 address."""
    shown = site.agent.tool("vagent.ctl", "-o", "json", "port", "show", guest.port_id)
    return str(json.loads(shown)["mdata-ip6"])


def alice(site: Any) -> Guest:
    """With addresses of both families."""
    made: Guest = site.lab.guest(
        "alice",
        Wiring.BRIDGED,
        address="10.0.0.5/24",
        address6="2001:db8::5/64",
        gateway="10.0.0.1",
        bridge="blue",
    )
    return made


@pytest.fixture
def open_site(idle_site: Any) -> Any:
    """A host whose agent lets it reach guests; a guest may have one flow of its own."""
    idle_site.agent.config = configuration(
        idle_site.folder,
        extra="<data-path><host-to-guest>true</host-to-guest></data-path>"
        "<linklocal-flows><max-vm-flows>1</max-vm-flows></linklocal-flows>",
    )
    idle_site.agent.start()
    return idle_site


def test_the_host_reaches_each_guest_by_its_identity(open_site: Any, ask: Any) -> None:
    """TCP, UDP and ping, to guests with one address at two taps. The guest sees its own
    address and the service's; the flows do not count as the guest's. (Contrail:
    Metadata_Ecmp_1, the flow goes to the one member that is meant.)
    """
    guests = (alice(open_site), open_site.bob())
    open_site.introduce(*guests)
    open_site.provision()
    for guest in guests:
        serve(open_site, guest)
        to = open_site.identity(guest)
        who = f"{SERVICE} asks {guest.name}"
        for _ in range(3):
            assert f"{who} at 10.0.0.5" == asked(open_site, to, socket.SOCK_STREAM)
            assert who == asked(open_site, to, socket.SOCK_DGRAM)
        assert pinged(open_site, to)
        assert f"I am {guest.name}\n" == ask(guest, "/latest/user-data")
    assert 0 == open_site.counter("from_host")


def test_the_host_reaches_a_guest_over_ipv6(open_site: Any) -> None:
    """By the identity of its registered address, with EC2's address as the source."""
    guest = alice(open_site)
    open_site.introduce(guest)
    serve(open_site, guest)
    to = identity6(open_site, guest)
    who = f"{SERVICE6} asks alice"
    assert f"{who} at 2001:db8::5" == asked(open_site, to, socket.SOCK_STREAM)
    assert who == asked(open_site, to, socket.SOCK_DGRAM)


def about_service(frame: Packet) -> bool:
    """Does this come from, or seem to come from, a service address?"""
    return (IP in frame and frame[IP].src == SERVICE) or (
        IPv6 in frame and frame[IPv6].src == SERVICE6
    )


def test_by_default_it_reaches_nobody(site: Any) -> None:
    """It has no way there. Where somebody makes one, what it sends is dropped and
    counted, and the guest hears nothing of it.
    """
    guest = alice(site)
    site.introduce(guest)
    serve(site, guest)
    here = wire(guest.machine.name)
    assert "" == asked(site, site.identity(guest), socket.SOCK_STREAM, BRIEF)
    assert 0 == site.counter("from_host")
    for words in (
        "169.254.64.0/18 via 169.254.0.1 src 169.254.0.0",
        "fd40:140::/32 via fd40:140::3",
    ):
        site.lab.host.run("ip", "route", "add", *words.split(), "dev", "vagentu")
    for to in (site.identity(guest), identity6(site, guest)):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            assert "" == asked(site, to, kind, BRIEF)
    assert not pinged(site, site.identity(guest), BRIEF)
    assert 5 <= site.counter("from_host")
    assert [] == heard(here, about_service)
    here.close()


def test_a_guest_answers_only_what_it_was_asked(open_site: Any) -> None:
    """Nothing that a guest sends of itself gets to a socket of the host, not even from
    the port and to the port of a neighbour's answer.
    """
    guest, other = alice(open_site), open_site.bob()
    open_site.introduce(guest, other)
    serve(open_site, guest)
    to = open_site.identity(guest)

    def make() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    with inside(open_site.lab.host.name, make) as host:
        host.settimeout(PATIENT)
        host.sendto(b"who?", (to, PORT))
        assert (to, PORT) == host.recvfrom(100)[1]
        number = host.getsockname()[1]
        forged = [
            UDP(sport=PORT, dport=number) / b"mine",
            UDP(sport=PORT + 1, dport=number) / b"mine",
            TCP(sport=PORT, dport=number, flags="SA", seq=1, ack=1),
            ICMP(type=0, id=7) / b"hello",
        ]
        raw = wire(other.machine.name)
        for segment in forged:
            frame = Ether(src=other.mac) / IP(src=other.address, dst=SERVICE) / segment
            raw.send(bytes(frame))
        mine = wire(guest.machine.name)
        stray = UDP(sport=PORT + 1, dport=number) / b"mine"
        mine.send(
            bytes(Ether(src=guest.mac) / IP(src=guest.address, dst=SERVICE) / stray)
        )
        host.settimeout(0.5 * PATIENCE)
        with pytest.raises(TimeoutError):
            host.recvfrom(100)
    raw.close()
    mine.close()


def test_no_other_guest_gets_there(open_site: Any) -> None:
    """A guest, or a machine that the host routes for, that sends to an identity is
    dropped and counted, in both families. (Contrail: Mdata_FabricToVm_1.)
    """
    guest, carol = alice(open_site), open_site.carol()
    open_site.introduce(guest, carol)
    beyond = open_site.uplink()
    here = wire(guest.machine.name)
    to, to6 = open_site.identity(guest), identity6(open_site, guest)
    before = open_site.counter("foreign_identity")
    mac = open_site.lab.host.run("cat", "/sys/class/net/uplink/address").strip()
    raw = wire(beyond)
    for frame in (
        Ether(src=BEYOND, dst=mac)
        / IP(src="198.51.100.1", dst=to)
        / TCP(dport=PORT, flags="S"),
        Ether(src=BEYOND, dst=mac) / IP(src="198.51.100.1", dst=to) / ICMP(),
        Ether(src=BEYOND, dst=mac)
        / IPv6(src="2001:db8:1::1", dst=to6)
        / ICMPv6EchoRequest(),
    ):
        raw.send(bytes(frame))
    carol.machine.run(
        "curl", "-s", "-m", str(PATIENCE), f"http://{to}:{PORT}/", check=False
    )
    assert [] == heard(here, lambda frame: reaches(frame, guest))
    assert 3 <= open_site.counter("foreign_identity") - before
    raw.close()
    here.close()


def reaches(frame: Packet, guest: Guest) -> bool:
    """Is this what was sent to the identity, at the guest's own address?"""
    if ICMPv6EchoReply in frame or ICMPv6EchoRequest in frame:
        return IPv6Address(frame[IPv6].dst) == IPv6Address(guest.address6)
    return IP in frame and frame[IP].dst == guest.address


def test_the_service_is_for_guests_alone(site: Any) -> None:
    """TCP and ping to a service address that come from beyond the host open no flow and
    are not answered. (Contrail: Mdata_FabricToServer_1.)
    """
    site.introduce(alice(site))
    site.provision()
    raw = wire(site.uplink())
    mac = site.lab.host.run("cat", "/sys/class/net/uplink/address").strip()
    for segment in (TCP(sport=40001, dport=80, flags="S"), ICMP()):
        raw.send(
            bytes(
                Ether(src=BEYOND, dst=mac)
                / IP(src="198.51.100.1", dst=SERVICE)
                / segment
            )
        )
    assert [] == heard(raw, lambda frame: IP in frame and frame[IP].src == SERVICE)
    assert [] == json.loads(site.agent.tool("vagent.ctl", "-o", "json", "flow", "list"))
    raw.close()


def test_an_identity_lives_as_long_as_its_tap(open_site: Any) -> None:
    """While the tap is away nothing is sent to its identity anywhere; once it is back
    the guest is reached by the same one. (Contrail: MetadataRoute_1.)
    """
    guest = alice(open_site)
    host = open_site.lab.host
    open_site.introduce(guest)
    serve(open_site, guest)
    to = open_site.identity(guest)
    assert asked(open_site, to, socket.SOCK_STREAM)
    away = ("ip", "link", "set", guest.tap, "netns")
    host.run(*away, guest.machine.name)
    wait_for(lambda: port_state(open_site, guest), "Inactive < no-dev >".__eq__)
    assert "" == asked(open_site, to, socket.SOCK_STREAM, BRIEF)
    assert open_site.counter("unknown_identity")
    guest.machine.run(*away, host.name)
    host.run("ip", "link", "set", guest.tap, "master", "blue", "up")
    wait_for(lambda: port_state(open_site, guest), "Active".__eq__)
    assert asked(open_site, to, socket.SOCK_STREAM)
