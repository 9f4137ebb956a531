"""When the kernel is asked how many flows there are, and what follows."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from twisted.internet.task import Clock

from vagent.config.model import LinkLocalFlowsConfig
from vagent.datapath.events import CountFailed
from vagent.datapath.trap.flow_limits import (
    RECOUNT_INTERVAL,
    USUAL_INTERVAL,
    FlowLimits,
)
from vagent.datapath.trap.recount import FlowRecount
from vagent.errors import KernelError
from vagent.kernel.ip_packet import OpeningPacket
from vagent.ports.port import Port, Registration

if TYPE_CHECKING:
    from vagent.observe.event import Event

PORT = Port("p", "i", "t", "", "", "tap", "", IPv4Address("10.0.0.3"), None)
ALICE = Registration(PORT, 2, IPv4Address("169.254.64.2"), (5,))


class Bench:
    """A guest with two addresses, and a kernel that counts or does not."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.events: list[Event] = []
        self.alive: dict[int, int] | None = {}
        self.asked = 0
        self.ended: list[int] = []
        self.limits = FlowLimits(LinkLocalFlowsConfig())
        self.recount = FlowRecount(
            self.limits,
            count_flows=self.count,
            guests={2: ALICE, 5: ALICE},
            end_flows_of=self.ended.append,
            emit=self.events.append,
            clock=self.clock,
        )

    async def count(self) -> dict[int, int]:
        self.asked += 1
        if self.alive is None:
            raise KernelError("no")
        return self.alive


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_flows_of_all_its_addresses_count_for_a_port(bench: Bench) -> None:
    """As the kernel has them, by index."""
    bench.alive = {2: 3, 5: 4}
    bench.recount.at_ceiling()
    counts = bench.limits.counts()
    assert (7, 1) == (counts.now, counts.guests)


def test_flows_of_nobody_are_ended(bench: Bench) -> None:
    """A port went while no agent was there to end them; they count for no guest."""
    bench.alive = {2: 3, 7: 4, 9: 1}
    bench.recount.at_ceiling()
    assert [7, 9] == bench.ended
    counts = bench.limits.counts()
    assert (3, 1) == (counts.now, counts.guests)


def test_at_a_ceiling_the_kernel_is_asked_once_in_an_interval(bench: Bench) -> None:
    """However many flows are refused meanwhile."""
    for _ in range(3):
        bench.recount.at_ceiling()
    assert 1 == bench.asked
    bench.clock.advance(RECOUNT_INTERVAL)
    bench.recount.at_ceiling()
    assert 2 == bench.asked


def test_a_ceiling_that_is_reached_right_after_the_start_is_looked_at(
    bench: Bench,
) -> None:
    """The count at the start was before its flows."""
    bench.recount.at_start()
    bench.recount.at_ceiling()
    assert 2 == bench.asked


def test_from_time_to_time_it_is_asked_anyway(bench: Bench) -> None:
    """While there are flows; not whenever somebody might want to know."""
    bench.recount.from_time_to_time()
    bench.limits.opened(2, OpeningPacket(17, 1, 2, 3, 53), 2)
    bench.alive = {2: 1}
    for _ in range(3):
        bench.recount.from_time_to_time()
    assert 1 == bench.asked
    bench.clock.advance(USUAL_INTERVAL)
    bench.recount.from_time_to_time()
    assert 2 == bench.asked


def test_a_count_that_fails_changes_nothing_and_is_told(bench: Bench) -> None:
    """The next one may succeed."""
    bench.limits.opened(2, OpeningPacket(17, 1, 2, 3, 53), 2)
    bench.alive = None
    bench.recount.at_ceiling()
    assert [CountFailed("no")] == bench.events
    assert 1 == bench.limits.counts().now
    bench.clock.advance(RECOUNT_INTERVAL)
    bench.alive = {}
    bench.recount.at_ceiling()
    assert 0 == bench.limits.counts().now
