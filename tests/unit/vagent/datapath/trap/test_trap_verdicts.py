"""What a ceiling, a rate and a refusal mean for the guest that meets them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, cast

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from twisted.internet.task import Clock

from vagent.config.model import EndpointCheckConfig, LinkLocalFlowsConfig
from vagent.datapath.endpoints.health import EndpointHealth
from vagent.datapath.endpoints.passive_check import PassiveCheck
from vagent.datapath.events import CountFailed
from vagent.datapath.state import (
    INDEX_BITS,
    LISTENER,
    REFUSE,
    Attachment,
    Services,
)
from vagent.datapath.trap.events import FlowDecided, PacketMalformed
from vagent.datapath.trap.flow_limits import RECOUNT_INTERVAL, FlowLimits
from vagent.datapath.trap.icmp_reject import IcmpReject
from vagent.datapath.trap.recount import FlowRecount
from vagent.datapath.trap.verdicts import Verdicts
from vagent.errors import KernelError
from vagent.ports.port import Port, Registration

if TYPE_CHECKING:
    from vagent.datapath.names import Names
    from vagent.datapath.system import System
    from vagent.linklocal.service import LinkLocalService
    from vagent.observe.event import Event

BASE = int(IPv4Address("169.254.64.0"))
DNS = "169.254.1.53"

PORT = Port("p", "i", "t", "", "", "tap", "", IPv4Address("10.0.0.3"), None)


class Bench:
    """Guests 2 to 19, and a service with two endpoints."""

    def __init__(self, names: Names, guest: Attachment, services: Services) -> None:
        self.events: list[Event] = []
        self.frames: list[Ether] = []
        self.clock = Clock()
        self.dice = max
        self.source_ports = itertools.count(30_000)
        self.alive: dict[int, int] | None = {}
        self.counts = 0
        self.guests = {
            index: Registration(PORT, index, IPv4Address(BASE + index))
            for index in range(2, 20)
        }
        self.limits = FlowLimits(LinkLocalFlowsConfig(4, 2))
        self.health = EndpointHealth(
            EndpointCheckConfig(),
            pick=lambda numbers: self.dice(numbers),  # noqa: PLW0108 others are thrown
            guests=self.guests,
            emit=self.events.append,
        )
        self.passive_check = PassiveCheck(
            self.health,
            find=self.find,
            emit=self.events.append,
            clock=self.clock,
        )
        self.verdicts = Verdicts(
            BASE,
            guests=self.guests,
            limits=self.limits,
            recount=FlowRecount(
                self.limits,
                count_flows=self.count,
                guests=self.guests,
                end_flows_of=no_flows,
                emit=self.events.append,
                clock=self.clock,
            ),
            health=self.health,
            passive_check=self.passive_check,
            icmp_reject=IcmpReject(
                attachment_of=lambda _: guest,
                system=cast("System", self),
                emit=self.events.append,
                clock=self.clock,
            ),
            emit=self.events.append,
            clock=self.clock,
        )
        self.verdicts.follow(services)
        self.health.follow(services.fabric)

    def find(self, _packet: object) -> None:
        raise KernelError("not now")

    async def count(self) -> dict[int, int]:
        self.counts += 1
        if self.alive is None:
            raise KernelError("no")
        return self.alive

    def send_frame(self, ifindex: int, frame: bytes) -> None:
        assert 11 == ifindex
        self.frames.append(Ether(frame))

    def open(
        self, index: int, kind: type = TCP, port: int = 53, source_port: int = 0
    ) -> int:
        """A flow of its own unless a source port is given."""
        source_port = source_port or next(self.source_ports)
        return self.verdicts.mark_of(opening(index, kind, port, source_port))

    def reasons(self) -> list[str]:
        return [
            each.verdict.reason.value
            for each in self.events
            if isinstance(each, FlowDecided)
        ]


def no_flows(index: int) -> None:
    raise AssertionError(index)


def opening(
    index: int, kind: type = TCP, port: int = 53, source_port: int = 40_000
) -> bytes:
    source = str(IPv4Address(BASE + index))
    return bytes(IP(src=source, dst=DNS) / kind(sport=source_port, dport=port))


@pytest.fixture
def bench(names: Names, alice: Attachment, dns: LinkLocalService) -> Bench:
    return Bench(names, alice, Services.of([dns], names, None))


def test_what_becomes_of_a_flow_to_an_endpoint_is_looked_at(bench: Bench) -> None:
    """Its mark says where it goes and whose it is."""
    assert 3 << INDEX_BITS | 2 == bench.open(2)
    assert "1 flows" in repr(bench.passive_check)


def test_a_verdict_is_told_of_the_port(bench: Bench) -> None:
    """Identities are given to others later; a port that went keeps its verdicts."""
    for index in (2, 99):
        bench.open(index)
    decided = [each for each in bench.events if isinstance(each, FlowDecided)]
    assert [bench.guests[2], None] == [each.guest for each in decided]


def test_the_endpoint_is_chosen_by_its_health(bench: Bench) -> None:
    """An endpoint that is down gets none; when all are, it is said."""
    for guest in (18, 19):
        bench.health.failed(3, 6, guest, 0.0)
    assert 2 << INDEX_BITS | 2 == bench.open(2)
    for guest in (18, 19):
        bench.health.failed(2, 6, guest, 0.0)
    bench.open(3)
    assert ["service", "no-live-endpoint"] == bench.reasons()


def test_a_guest_at_its_ceiling_is_refused_and_the_kernel_asked(bench: Bench) -> None:
    """Until the kernel says that flows have ended."""
    bench.open(2)
    bench.open(2)
    bench.alive = {2: 2}
    assert REFUSE << INDEX_BITS | 2 == bench.open(2)
    assert ["service", "service", "guest-limit"] == bench.reasons()
    assert 3 << INDEX_BITS | 3 == bench.open(3)
    bench.clock.advance(RECOUNT_INTERVAL)
    bench.alive = {3: 1}
    assert REFUSE << INDEX_BITS | 2 == bench.open(2)
    assert 3 << INDEX_BITS | 2 == bench.open(2)
    assert (2, 2) == (bench.counts, bench.limits.counts().refused)


@pytest.mark.parametrize("kind", [TCP, UDP])
def test_a_packet_that_comes_again_is_of_the_flow_that_there_is(
    bench: Bench, kind: type
) -> None:
    """It is counted once, has its endpoint, whatever the dice say, and is not refused
    where it is the last that its guest may have.
    """
    bench.open(2)
    last = bench.open(2, kind, source_port=1)
    bench.dice = min
    assert last == bench.open(2, kind, source_port=1)
    assert (2, 0) == (bench.limits.counts().now, bench.limits.counts().refused)
    bench.open(2)
    assert "guest-limit" == bench.reasons()[-1]


def test_what_speaks_against_its_endpoint_speaks_against_the_repetition(
    bench: Bench,
) -> None:
    """The flow is then another one."""
    assert 3 << INDEX_BITS | 2 == bench.open(2, source_port=1)
    for guest in (18, 19):
        bench.health.failed(3, 6, guest, 0.0)
    assert 2 << INDEX_BITS | 2 == bench.open(2, source_port=1)
    assert 2 == bench.limits.counts().now


def test_a_full_host_refuses_everybody(bench: Bench) -> None:
    """With its own reason; a kernel that does not count is told, and asked again."""
    bench.alive = None
    for index in (2, 2, 3, 3):
        bench.open(index)
    assert REFUSE << INDEX_BITS | 4 == bench.open(4)
    assert "host-limit" == bench.reasons()[-1]
    assert CountFailed("no") in bench.events
    bench.clock.advance(RECOUNT_INTERVAL)
    bench.alive = {}
    bench.open(4)
    assert 3 << INDEX_BITS | 4 == bench.open(4)


def test_a_datagram_that_the_kernel_refused_is_told(bench: Bench) -> None:
    """The reason is a verdict like any other; nothing is let in."""
    bench.verdicts.reject(opening(2, UDP))
    assert ["guest-rate"] == bench.reasons()
    (frame,) = bench.frames
    assert (3, 3) == (frame[ICMP].type, frame[ICMP].code)
    assert 0 == bench.limits.counts().now


def test_who_is_no_guest_is_not_told(bench: Bench) -> None:
    """Nor is what is no packet."""
    bench.verdicts.reject(opening(99, UDP))
    bench.verdicts.reject(b"")
    assert [] == bench.frames
    assert [PacketMalformed] == [type(each) for each in bench.events]


def test_while_the_agent_stops_no_flow_to_its_listener_opens(
    names: Names, alice: Attachment, dns: LinkLocalService
) -> None:
    """The packet is dropped, not refused: the guest repeats it, and the next agent
    answers. A repetition of one that was let in passes, as do flows to other services.
    """
    metadata = replace(dns, name="metadata", port=80)
    bench = Bench(names, alice, Services.of([dns, metadata], names, None))
    let_in = bench.open(2, port=80, source_port=1)
    assert LISTENER << INDEX_BITS | 2 == let_in
    bench.verdicts.hold_back_metadata()
    assert 0 == bench.open(2, port=80, source_port=2)
    assert let_in == bench.open(2, port=80, source_port=1)
    assert 0 != bench.open(2)
    assert ["metadata", "stopping", "metadata", "service"] == bench.reasons()
