"""ICMP errors about a flow reach whom they are about, and nobody else is believed."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP, IPOption, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6ParamProblem,
    IPv6,
    IPv6ExtHdrDestOpt,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from lab.agent import configuration
from lab.fabric import HOST6, Fabric, Server
from lab.guests import Guest
from lab.namespaces import Machine, inside, run
from lab.waiting import wait_for
from tests.system.offers import (
    ANSWER_DEADLINE,
    BOTH,
    SERVICE4,
    SERVICE6,
    at,
    connect,
    datagrams,
    known,
    offer,
    told,
)
from tests.system.test_system_fast_path import on_fast_path
from tests.system.test_system_host import alice, identity6, open_site
from tests.system.test_system_identity import heard, wire
from tests.system.test_system_ipv6 import bob
from tests.system.test_system_vlan import introduce, needs_vlan

__all__ = ["open_site"]
pytestmark = [pytest.mark.system, pytest.mark.kernel]

NARROW = 1280
"""The least MTU of IPv6 (RFC 8200 5)."""
FAR4, FAR6 = "203.0.113.2", "2001:db8:fa2::2"
NOWHERE4, NOWHERE6 = "203.0.113.9", "2001:db8:fa2::9"
IP_RECVERR, IPV6_RECVERR = 11, 25
MTU = {
    socket.AF_INET: (socket.IPPROTO_IP, 14),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 24),
}
"""Options of linux/in.h and linux/in6.h that say what a path's MTU is known to be."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """A server behind a router of the fabric."""

    router: Server
    server: Server


@pytest.fixture
def beyond(fabric: Fabric) -> Beyond:
    """Both have a way to the host."""
    router = fabric.server("router")
    machine = fabric.lab.machine("far")
    run(
        *("ip", "link", "add", "far", "netns", router.machine.name),
        *("type", "veth", "peer", "name", "eth0", "netns", machine.name),
    )
    for each, name, number in ((router.machine, "far", 1), (machine, "eth0", 2)):
        each.run("ip", "link", "set", name, "up")
        _address(each, name, f"203.0.113.{number}/24", f"2001:db8:fa2::{number}/64")
    router.machine.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    router.machine.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    for via in ("203.0.113.1", "2001:db8:fa2::1"):
        machine.run("ip", "route", "add", "default", "via", via)
    _route(fabric.lab.host, "via", router.address, "via", router.address6)
    fabric.lab.host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    made = Server("far", machine, FAR4, FAR6)
    fabric.servers.append(made)
    return Beyond(router, made)


def _address(machine: Machine, interface: str, four: str, six: str) -> None:
    machine.run("ip", "address", "add", four, "dev", interface)
    machine.run("ip", "address", "add", six, "dev", interface, "nodad")


def _route(machine: Machine, *how: str, narrow: bool = False) -> None:
    """Where the network of the server is; `how` is for IPv4, then for IPv6. Over a
    narrow way no packet is longer than NARROW, whatever an interface says: the ends do
    not know it, or they would offer smaller segments.
    """
    half = len(how) // 2
    networks = (FAR4, FAR6) if narrow else ("203.0.113.0/24", "2001:db8:fa2::/64")
    size = ("mtu", "lock", str(NARROW)) if narrow else ()
    for to, way in zip(networks, (how[:half], how[half:]), strict=True):
        machine.run("ip", "route", "add", to, *way, *size)


def sent_and_back(guest: Guest, address: str, size: int) -> int:
    """How many bytes an echo over TCP returns, its name left out."""
    with connect(guest, address, 7) as flow:
        flow.sendall(b"x" * size)
        flow.shutdown(socket.SHUT_WR)
        back = b""
        while data := flow.recv(65_536):
            back += data
    return back.count(b"X")


def of_link_local(guest: Guest) -> None:
    """Let a guest ask from its link-local address, not its registered one."""
    route = ("ip", "-6", "route", "replace", SERVICE6, "dev", "eth0")
    guest.machine.run(*route, "src", guest.link_local())


FROM = {
    "ipv4": (SERVICE4, lambda _: None),
    "registered": (SERVICE6, lambda _: None),
    "link-local": (SERVICE6, of_link_local),
}


@pytest.fixture(params=sorted(FROM))
def asking(request: Any, site: Any) -> tuple[Guest, str]:
    """A guest, and the service address that it uses, over each kind of address."""
    address, prepare = FROM[request.param]
    guest = alice(site)
    known(site, guest)
    prepare(guest)
    return guest, address


@pytest.mark.parametrize("narrow", ["router", "host"])
def test_the_path_mtu_is_discovered(
    site: Any, beyond: Beyond, asking: tuple[Guest, str], narrow: str
) -> None:
    """A stream goes on in smaller segments where a router, or the host itself, cannot
    pass larger ones on, and the guest knows for whatever else it sends there.
    """
    guest, address = asking
    router = beyond.router
    if narrow == "host":
        via = ("via", router.address, "via", router.address6)
        _route(site.lab.host, *via, narrow=True)
    else:
        _route(router.machine, "dev", "far", "dev", "far", narrow=True)
    beyond.server.serve(7777)
    offer(site, "echo", address, 7, at(beyond.server, address))
    assert 20_000 == sent_and_back(guest, address, 20_000)
    with datagrams(guest, address, 8) as flow:
        assert NARROW == flow.getsockopt(*MTU[flow.family])


def test_the_path_mtu_of_a_flow_on_the_fast_path(
    idle_site: Any, beyond: Beyond
) -> None:
    """Its packets skip conntrack; an error about them does not, and finds the flow."""
    site, extra = idle_site, "<data-path><fast-path>true</fast-path></data-path>"
    site.agent.config = configuration(site.folder, extra=extra)
    site.agent.start()
    guest = site.alice()
    site.introduce(guest)
    beyond.server.serve(7777)
    offer(site, "echo", SERVICE4, 7, FAR4)

    def carried() -> bool:
        for _ in range(100):
            assert b"far HELLO" == told(flow)
        return on_fast_path(site)

    with connect(guest, SERVICE4, 7) as flow:
        wait_for(carried)
        _route(beyond.router.machine, "dev", "far", "dev", "far", narrow=True)
        flow.sendall(b"x" * 20_000)
        back = b""
        while back.count(b"X") < 20_000:
            back += flow.recv(65_536)
        assert NARROW == flow.getsockopt(*MTU[socket.AF_INET])
        wait_for(carried)


def test_a_datagram_that_nobody_takes_is_told(
    site: Any, fabric: Fabric, asking: tuple[Guest, str]
) -> None:
    """An endpoint without a server on the port answers, and the guest hears it at once
    instead of waiting.
    """
    guest, address = asking
    server = fabric.server("one")
    offer(site, "dead", address, 7, at(server, address))
    with wire(guest.machine.name) as raw, datagrams(guest, address, 7) as flow:
        with pytest.raises(ConnectionRefusedError):
            told(flow)
        (frame,) = heard(raw, is_error, least=1)
        ends = (address, flow.getsockname()[0])
    packet = frame.payload
    quoted = packet[ICMP].payload if IP in frame else packet[ICMPv6DestUnreach].payload
    assert ends == (packet.src, packet.dst) == (quoted.dst, quoted.src)
    assert bytes(packet) == bytes(summed(packet))


def is_error(frame: Packet) -> bool:
    """Is it "unreachable"?"""
    return (ICMP in frame and frame[ICMP].type == 3) or ICMPv6DestUnreach in frame


def summed(packet: Packet) -> Packet:
    """The same with the checksums as they should be; those of the datagram in it are
    left alone, as what is quoted need not be all of it.
    """
    copy = packet.copy()
    if IP in copy:
        del copy.chksum, copy[ICMP].chksum, copy[ICMP].payload.chksum
    else:
        del copy[ICMPv6DestUnreach].cksum
    return copy.__class__(bytes(copy))


@needs_vlan
def test_a_guest_with_a_vlan_is_told(site: Any, fabric: Fabric) -> None:
    """The error has its tag."""
    guest = alice(site)
    introduce(site, guest, 100)
    guest.machine.run("ip", "-6", "route", "replace", SERVICE6, "dev", "eth0.100")
    server = fabric.server("one")
    for address in BOTH:
        offer(site, f"dead{address}", address, 7, at(server, address))
        with (
            datagrams(guest, address, 7) as flow,
            pytest.raises(ConnectionRefusedError),
        ):
            told(flow)


@pytest.mark.parametrize("address", BOTH)
def test_a_datagram_that_the_host_does_not_take_is_told(
    site: Any, address: str
) -> None:
    """The same where the endpoint would be a process of the host."""
    here = HOST6 if ":" in address else "127.0.0.1"
    site.lab.host.run("ip", "address", "add", f"{HOST6}/128", "dev", "lo")
    guest = site.alice()
    known(site, guest)
    offer(site, "dead", address, 7, here)
    with datagrams(guest, address, 7) as flow, pytest.raises(ConnectionRefusedError):
        told(flow)


@pytest.mark.parametrize("address", BOTH)
def test_a_host_that_is_not_there_is_told(
    site: Any, beyond: Beyond, address: str
) -> None:
    """A connection fails as the router says."""
    for nowhere in (NOWHERE4, NOWHERE6):
        beyond.router.machine.run("ip", "route", "add", "unreachable", nowhere)
    guest = site.alice()
    known(site, guest)
    offer(site, "nowhere", address, 7, NOWHERE6 if ":" in address else NOWHERE4)
    with pytest.raises(OSError, match=r"route to host|Network is") as failure:
        connect(guest, address, 7)
    assert failure.value.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH}


@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize("address", BOTH)
def test_time_exceeded_is_told(
    site: Any, beyond: Beyond, address: str, hops: int
) -> None:
    """By the host, or the router behind it; it seems to come from the service, so that
    no guest learns addresses of the fabric.
    """
    guest = site.alice()
    known(site, guest)
    offer(site, "far", address, 7, at(beyond.server, address))
    with datagrams(guest, address, 7) as flow:
        if flow.family == socket.AF_INET:
            flow.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            flow.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
        else:
            flow.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            flow.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
        with pytest.raises(OSError, match="No route to host") as failure:
            told(flow)
        assert errno.EHOSTUNREACH == failure.value.errno
        _, notes, _, _ = flow.recvmsg(100, 1000, socket.MSG_ERRQUEUE)
        assert any(socket.inet_pton(flow.family, address) in data for *_, data in notes)


# -- what guests say themselves


def errors_at(server: Server) -> int:
    """ICMP errors "unreachable" that a machine took in, of both families."""
    fields = server.machine.run("cat", "/proc/net/snmp6").split()
    six = int(fields[fields.index("Icmp6InDestUnreachs") + 1])
    names, values = (
        line.split()
        for line in server.machine.run("cat", "/proc/net/snmp").splitlines()
        if line.startswith("Icmp:")
    )
    return six + int(values[names.index("InDestUnreachs")])


def about(guest: Guest, port: int, *, of: str = "", service: str = SERVICE4) -> Packet:
    """Port unreachable, about a datagram from a service's port 7 to this address and
    port, quoted as if it had come.
    """
    head: Packet
    inner: Packet
    if ":" in service:
        mine, quoted = guest.address6, of or guest.address6
        head = IPv6(src=mine, dst=service) / ICMPv6DestUnreach(code=4)
        inner = IPv6(src=service, dst=quoted)
    else:
        mine, quoted = guest.address, of or guest.address
        head = IP(src=mine, dst=service) / ICMP(type=3, code=3)
        inner = IP(src=service, dst=quoted)
    frame = Ether(src=guest.mac, dst="02:de:ad:be:ef:99") / head
    return frame / inner / UDP(sport=7, dport=port) / b"hello"


@pytest.mark.parametrize("address", BOTH)
def test_what_a_guest_says_is_about_its_own_flows(
    site: Any, fabric: Fabric, address: str
) -> None:
    """Its errors reach the endpoint of a flow that it has; quoting a neighbour's flow
    by the neighbour's identity, or as if it were its own, it reaches nobody.
    """
    server = fabric.server("one")
    server.serve(7777)
    guest, other = alice(site), bob(site)
    known(site, guest, other)
    offer(site, "echo", address, 7, at(server, address))
    is_six = ":" in address
    identity = identity6(site, other) if is_six else site.identity(other)
    with (
        datagrams(guest, address, 7) as mine,
        datagrams(other, address, 7) as his,
        wire(guest.machine.name) as raw,
    ):
        for flow in (mine, his):
            assert b"one HELLO" == told(flow)
        my_port, his_port = mine.getsockname()[1], his.getsockname()[1]
        named = about(guest, his_port, of=identity, service=address)
        forged = unusual6(named) if is_six else unusual(named)
        for each in (named, about(guest, his_port, service=address), *forged):
            raw.send(bytes(each))
        honest = bytes(about(guest, my_port, service=address))
        for _ in range(HONEST):
            raw.send(honest)
        wait_for(lambda: errors_at(server), lambda count: count >= HONEST)
        assert HONEST == errors_at(server)
        assert b"one HELLO" == told(his)


HONEST = 20
"""More than there are forged ones."""


def unusual(plain: Packet) -> list[Packet]:
    """The same as a router would not say it: options, another kind, in fragments."""
    optional, inner_optional, problem = plain.copy(), plain.copy(), plain.copy()
    optional[IP].options = [IPOption(b"\x01\x01\x01\x01")]
    inner_optional[ICMP].payload.options = [IPOption(b"\x01\x01\x01\x01")]
    problem[ICMP].type = 12
    ether = Ether(src=plain.src, dst=plain.dst)
    fragments = [ether / each for each in fragment(plain[IP], fragsize=24)]
    return [optional, inner_optional, problem, *fragments]


def unusual6(plain: Packet) -> list[Packet]:
    """The same over IPv6."""
    quoted = plain[ICMPv6DestUnreach].payload
    ends = Ether(src=plain.src, dst=plain.dst) / IPv6(
        src=plain[IPv6].src, dst=plain[IPv6].dst
    )
    return [
        ends / ICMPv6ParamProblem() / quoted,
        ends / IPv6ExtHdrDestOpt() / ICMPv6DestUnreach(code=4) / quoted,
    ]


@pytest.mark.parametrize("version", [4, 6])
def test_the_host_hears_a_guest_refuse(open_site: Any, version: int) -> None:
    """A process of the host that sends a datagram to a guest who has no server there is
    told at once.
    """
    guest = alice(open_site)
    open_site.introduce(guest)
    to = open_site.identity(guest) if version == 4 else identity6(open_site, guest)
    family = socket.AF_INET if version == 4 else socket.AF_INET6

    def ask() -> bytes:
        with socket.socket(family, socket.SOCK_DGRAM) as peer:
            peer.settimeout(ANSWER_DEADLINE)
            peer.connect((to, 2222))
            peer.send(b"who?")
            return peer.recv(100)

    with pytest.raises(ConnectionRefusedError):
        inside(open_site.lab.host.name, ask)
