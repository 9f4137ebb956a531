"""Trapped IPv6 packets: whose they are, and what follows."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, cast

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    IPv6,
)
from scapy.layers.l2 import Dot1Q, Ether
from twisted.internet.task import Clock

from vagent.config.model import EndpointCheckConfig, LinkLocalFlowsConfig
from vagent.datapath.endpoints.health import EndpointHealth
from vagent.datapath.endpoints.passive_check import PassiveCheck
from vagent.datapath.state import (
    INDEX_BITS,
    LISTENER,
    REFUSE,
    Attachment,
    Services,
    Tag,
)
from vagent.datapath.trap.events import FlowDecided
from vagent.datapath.trap.flow_limits import FlowLimits
from vagent.datapath.trap.icmp_reject import IcmpReject
from vagent.datapath.trap.recount import FlowRecount
from vagent.datapath.trap.verdicts import Verdicts
from vagent.ports.port import Port, Registration

if TYPE_CHECKING:
    from vagent.datapath.names import Names
    from vagent.datapath.system import System
    from vagent.linklocal.service import LinkLocalService
    from vagent.observe.event import Event

REGISTERED, OWN = "fd40:140:2::1", "fd40:140:2:fffd::aa"
ADDRESS, LINK_LOCAL = "2001:db8::5", "fe80::aa"
SERVICE = "fd00:ec2::254"
PORT = Port("p", "i", "t", "", "", "tap", "", None, IPv6Address(ADDRESS))
REGISTRATION = Registration(PORT, 2, IPv4Address("169.254.64.2"))


class Bench:
    """One guest, of index 2."""

    def __init__(
        self, names: Names, guest: Attachment, services: Services, most: int = 2
    ) -> None:
        self.alive = {2: 2}
        self.ended: list[int] = []
        self.events: list[Event] = []
        self.frames: list[tuple[int, Any]] = []
        self.guests = {2: REGISTRATION}
        clock, emit = Clock(), self.events.append
        limits = FlowLimits(LinkLocalFlowsConfig(max_vm_flows=most))
        health = EndpointHealth(
            EndpointCheckConfig(), pick=max, guests=self.guests, emit=emit
        )
        self.verdicts = Verdicts(
            int(names.identity_range.network_address),
            guests=self.guests,
            limits=limits,
            recount=FlowRecount(
                limits,
                count_flows=self.count,
                guests=self.guests,
                end_flows_of=self.ended.append,
                emit=emit,
                clock=clock,
            ),
            health=health,
            passive_check=PassiveCheck(
                health, find=lambda _: None, emit=emit, clock=clock
            ),
            icmp_reject=IcmpReject(
                attachment_of={2: guest}.get,
                system=cast("System", self),
                emit=emit,
                clock=clock,
            ),
            emit=emit,
            clock=clock,
        )
        self.verdicts.follow(services)

    async def count(self) -> dict[int, int]:
        return self.alive

    def send_frame(self, ifindex: int, frame: bytes) -> None:
        self.frames.append((ifindex, Ether(frame)))


@pytest.fixture
def bench(names: Names, alice: Attachment, metadata: LinkLocalService) -> Bench:
    """With metadata provisioned."""
    guest = replace(alice, address6=IPv6Address(ADDRESS), takes_link_local=True)
    return Bench(names, guest, Services.of([metadata], names, None))


def packet(source: str, payload: Any, hlim: int = 64) -> bytes:
    """To the service."""
    return bytes(IPv6(src=source, dst=SERVICE, hlim=hlim) / payload)


@pytest.mark.parametrize("source", [REGISTERED, OWN])
def test_both_identities_are_the_guest(bench: Bench, source: str) -> None:
    """The mark is that of IPv4."""
    mark = bench.verdicts.mark_of(packet(source, TCP(dport=80)))
    assert LISTENER << INDEX_BITS | 2 == mark
    (event,) = bench.events
    assert isinstance(event, FlowDecided)
    assert f"[{source}]:20 -> [{SERVICE}]:80" in event.text()


@pytest.mark.parametrize(
    "source", ["fd40:140:3::1", "fd40:140:2::2", "fd40:140:2:1::aa", "fe80::aa"]
)
def test_anything_else_gets_silence(bench: Bench, source: str) -> None:
    """Another port's identity, or none."""
    assert 0 == bench.verdicts.mark_of(packet(source, TCP(dport=80)))
    assert [] == bench.frames


def test_the_ceiling_counts_all_addresses_of_a_guest(bench: Bench) -> None:
    """Two flows are its share, whichever address they are from."""
    marks = [
        bench.verdicts.mark_of(packet(source, TCP(dport=80)))
        for source in (REGISTERED, OWN, "fd40:140:2:fffd::bb")
    ]
    assert REFUSE << INDEX_BITS | 2 == marks[2]
    assert marks[0] == marks[1] != marks[2]


def test_a_ping_is_not_carried(bench: Bench) -> None:
    """As for IPv4."""
    assert 0 == bench.verdicts.mark_of(packet(OWN, ICMPv6EchoRequest()))


@pytest.mark.parametrize(
    ("source", "asks_from"), [(REGISTERED, ADDRESS), (OWN, LINK_LOCAL)]
)
def test_a_refused_datagram_is_told(bench: Bench, source: str, asks_from: str) -> None:
    """Port unreachable, to the address that it came from."""
    assert 0 == bench.verdicts.mark_of(packet(source, UDP(dport=53)))
    ((_, frame),) = bench.frames
    assert asks_from == frame[IPv6].dst
    assert 4 == frame[ICMPv6DestUnreach].code


def test_a_tagged_guest_hears_in_its_vlan(
    names: Names, alice: Attachment, metadata: LinkLocalService
) -> None:
    """What is told of a refused datagram."""
    guest = replace(alice, takes_link_local=True, tag=Tag(sent=100, got=101))
    bench = Bench(names, guest, Services.of([metadata], names, None))
    bench.verdicts.mark_of(packet(OWN, UDP(dport=53)))
    assert [(11, 101)] == [
        (ifindex, frame[Dot1Q].vlan) for ifindex, frame in bench.frames
    ]


def test_further_addresses_share_the_guests_ceiling(bench: Bench) -> None:
    """And a count of the kernel's flows, by their indexes, is theirs together."""
    bench.guests[5] = REGISTRATION
    sources = (REGISTERED, "fd40:140:5::1", "fd40:140:5::1")
    marks = [
        bench.verdicts.mark_of(packet(each, TCP(sport=port, dport=80)))
        for port, each in enumerate(sources, start=40_000)
    ]
    assert [LISTENER << INDEX_BITS | 2, LISTENER << INDEX_BITS | 5] == marks[:2]
    assert REFUSE << INDEX_BITS | 5 == marks[2]
    bench.alive = {2: 1, 5: 1}
    assert REFUSE << INDEX_BITS | 2 == bench.verdicts.mark_of(
        packet(REGISTERED, TCP(dport=80))
    )
