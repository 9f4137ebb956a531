"""Which flows are looked at, when, and what is made of what is seen."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from twisted.internet.task import Clock

from vagent.config.model import EndpointCheckConfig
from vagent.datapath.endpoints.events import FlowNotSeen
from vagent.datapath.endpoints.health import EndpointHealth, HealthState
from vagent.datapath.endpoints.passive_check import (
    FIRST_LOOK,
    LAST_LOOK,
    MAX_WATCHED,
    MAX_WATCHED_OF_GUEST,
    WELL_FOR,
    PassiveCheck,
)
from vagent.datapath.state import INDEX_BITS, NatEndpoint
from vagent.errors import KernelError
from vagent.kernel.conntrack import SEEN_REPLY, Tracked, Tuple
from vagent.kernel.ip_packet import TCP, UDP, OpeningPacket
from vagent.observe.event import Event

ENDPOINTS = tuple(NatEndpoint(n, IPv4Address(f"192.0.2.{n}"), 7) for n in range(2, 32))
ALICE, BOB = 5, 6
SERVICE = int(IPv4Address("169.254.1.7"))
BASE = int(IPv4Address("169.254.64.0"))


def packet(index: int, protocol: int = TCP, port: int = 40000) -> OpeningPacket:
    return OpeningPacket(protocol, BASE + index, SERVICE, port, 7)


def tracked(mark: int, status: int) -> Tracked:
    where = Tuple(TCP, IPv4Address(BASE), IPv4Address(SERVICE), 1, 7)
    return Tracked(1, mark, where, where, status, 10, None, None, None, None)


class Bench:
    """A kernel that answers what the test wants."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.asked: list[OpeningPacket] = []
        self.answer: Tracked | Exception | None = None
        self.endpoints = EndpointHealth(
            EndpointCheckConfig(), pick=max, guests={}, emit=self.events.append
        )
        self.endpoints.follow(ENDPOINTS)
        self.passive_check = PassiveCheck(
            self.endpoints, find=self.find, emit=self.events.append, clock=self.clock
        )

    def find(self, opening: OpeningPacket) -> Tracked | None:
        self.asked.append(opening)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def open(self, index: int, number: int = 2, protocol: int = TCP) -> None:
        self.passive_check.opened(
            packet(index, protocol), number << INDEX_BITS | index, index
        )

    def see(self, answer: Tracked | Exception | None, seconds: float) -> None:
        self.answer = answer
        self.clock.pump([FIRST_LOOK] * int(seconds / FIRST_LOOK))

    def health(self) -> tuple[HealthState, HealthState]:
        return self.endpoints.states()[0][1:]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_silent_flow_fails_at_the_last_look(bench: Bench) -> None:
    """Not before: the answer may be slow."""
    bench.open(ALICE)
    silent = tracked(2 << INDEX_BITS | ALICE, 0)
    bench.see(silent, LAST_LOOK - FIRST_LOOK)
    assert (HealthState.UP, HealthState.UP) == bench.health()
    bench.see(silent, FIRST_LOOK)
    assert (HealthState.SUSPECT, HealthState.UP) == bench.health()
    assert 2 == len(bench.asked)


def test_a_flow_that_is_gone_was_reset(bench: Bench) -> None:
    """For TCP, where the kernel forgets it at once; UDP it keeps."""
    bench.open(ALICE)
    bench.open(ALICE, protocol=UDP)
    bench.see(None, FIRST_LOOK)
    assert (HealthState.SUSPECT, HealthState.UP) == bench.health()


def test_a_reply_clears(bench: Bench) -> None:
    """And the endpoint is left alone for a moment."""
    bench.endpoints.failed(2, TCP, ALICE, 0.0)
    bench.open(BOB)
    replied = tracked(2 << INDEX_BITS | BOB, SEEN_REPLY)
    bench.see(replied, FIRST_LOOK)
    assert (HealthState.UP, HealthState.UP) == bench.health()
    bench.asked.clear()
    bench.open(BOB)
    bench.see(replied, 2 * WELL_FOR)
    assert [] == bench.asked
    bench.open(BOB)
    bench.see(replied, FIRST_LOOK)
    assert 1 == len(bench.asked)


def test_while_something_speaks_against_it_each_guest_is_looked_at(
    bench: Bench,
) -> None:
    """A reply a moment ago does not blind the check to a failure now."""
    bench.open(BOB)
    bench.see(tracked(2 << INDEX_BITS | BOB, SEEN_REPLY), FIRST_LOOK)
    bench.endpoints.failed(2, TCP, ALICE, bench.clock.seconds())
    bench.open(BOB)
    bench.see(tracked(2 << INDEX_BITS | BOB, 0), LAST_LOOK)
    assert (HealthState.DOWN, HealthState.UP) == bench.health()


def test_another_flow_of_the_same_ports_says_nothing(bench: Bench) -> None:
    """The mark tells that it is not the one."""
    bench.open(ALICE)
    bench.see(tracked(7 << INDEX_BITS | ALICE, 0), LAST_LOOK)
    assert (HealthState.UP, HealthState.UP) == bench.health()


def test_a_kernel_that_fails_is_told(bench: Bench) -> None:
    """And counts against nobody."""
    bench.open(ALICE)
    bench.see(KernelError("no memory"), FIRST_LOOK)
    assert [FlowNotSeen("no memory")] == bench.events
    assert (HealthState.UP, HealthState.UP) == bench.health()


def test_a_guest_is_watched_within_limits(bench: Bench) -> None:
    """One flow to each endpoint, some endpoints, and never all that can be watched."""
    for number in range(2, 32):
        bench.open(ALICE, number)
        bench.open(ALICE, number)
    bench.open(BOB)
    assert f"{MAX_WATCHED_OF_GUEST + 1} flows" in repr(bench.passive_check)
    for index in range(10, 10 + MAX_WATCHED):
        bench.open(index)
    assert f" {MAX_WATCHED} flows" in repr(bench.passive_check)


def test_who_is_gone_is_not_looked_at(bench: Bench) -> None:
    """The agent ended those flows itself."""
    bench.open(ALICE)
    bench.open(BOB)
    bench.open(BOB, 3)
    bench.passive_check.forget(ALICE)
    bench.passive_check.follow(frozenset({3}))
    bench.see(None, FIRST_LOOK)
    assert [packet(BOB)] == bench.asked
    assert (HealthState.UP, HealthState.UP) == bench.health()


def test_nothing_goes_on_after_the_end(bench: Bench) -> None:
    """No timer is left, and none runs while there is nothing to see."""
    bench.passive_check.stop()
    bench.open(ALICE)
    bench.passive_check.stop()
    assert [] == bench.clock.getDelayedCalls()
    bench.open(ALICE)
    bench.see(None, FIRST_LOOK)
    assert [] == bench.clock.getDelayedCalls()
