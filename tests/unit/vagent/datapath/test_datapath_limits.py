"""Ceilings on flows: never too many, never forgotten, fair between guests."""

from __future__ import annotations

import pytest

from vagent.config.model import LinkLocalFlowsConfig
from vagent.datapath.limits import RECOUNT_INTERVAL, FlowLimits

ALICE, BOB = 2, 3


@pytest.fixture
def limits() -> FlowLimits:
    """Three flows a guest, five on the host."""
    return FlowLimits(LinkLocalFlowsConfig(max_system_flows=5, max_vm_flows=3))


def open_flows(limits: FlowLimits, index: int, count: int) -> None:
    for _ in range(count):
        limits.opened(index)


@pytest.mark.parametrize(("count", "full"), [(2, False), (3, True), (4, True)])
def test_a_guest_is_full_at_its_ceiling(
    limits: FlowLimits, count: int, *, full: bool
) -> None:
    """One below is not, the ceiling is; the neighbour is not concerned."""
    open_flows(limits, ALICE, count)
    assert full is limits.guest_is_full(ALICE)
    assert not limits.guest_is_full(BOB)


@pytest.mark.parametrize(("count", "full"), [(1, False), (2, True)])
def test_the_host_is_full_at_its_ceiling(
    limits: FlowLimits, count: int, *, full: bool
) -> None:
    """All guests together."""
    open_flows(limits, ALICE, 3)
    open_flows(limits, BOB, count)
    assert full is limits.host_is_full()


def test_what_the_kernel_says_replaces_the_count(limits: FlowLimits) -> None:
    """Flows that ended make room."""
    open_flows(limits, ALICE, 3)
    limits.recounted({ALICE: 1, BOB: 2})
    assert not limits.guest_is_full(ALICE)
    assert (3, 3) == (limits.counts().now, limits.counts().peak)


def test_the_kernel_is_asked_at_most_once_in_an_interval(limits: FlowLimits) -> None:
    """A flood at the ceiling costs one count a second, not one a packet."""
    assert limits.should_recount(100.0)
    assert not limits.should_recount(100.0 + RECOUNT_INTERVAL / 2)
    assert limits.should_recount(100.0 + RECOUNT_INTERVAL)


def test_the_peak_stays(limits: FlowLimits) -> None:
    """It is the most there were at a time."""
    open_flows(limits, ALICE, 3)
    limits.recounted({})
    assert (0, 3) == (limits.counts().now, limits.counts().peak)


def test_who_is_gone_counts_no_more(limits: FlowLimits) -> None:
    """The next guest with this number starts at zero."""
    open_flows(limits, ALICE, 3)
    limits.forget(ALICE)
    limits.forget(BOB)
    assert not limits.guest_is_full(ALICE)
    assert 0 == limits.counts().now
