"""Ceilings on flows: never too many, never forgotten, fair between guests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vagent.config.model import LinkLocalFlowsConfig
from vagent.datapath.trap.decide import Reason
from vagent.datapath.trap.flow_limits import (
    RECENT,
    RECOUNT_INTERVAL,
    USUAL_INTERVAL,
    FlowCounts,
    FlowLimits,
)
from vagent.kernel.ip_packet import OpeningPacket

ALICE, BOB = 2, 3


@pytest.fixture
def limits() -> FlowLimits:
    """Three flows a guest, five on the host."""
    return FlowLimits(LinkLocalFlowsConfig(max_system_flows=5, max_vm_flows=3))


def open_flows(limits: FlowLimits, index: int, count: int) -> None:
    for number in range(count):
        limits.opened(index, opening(number), 2)


def opening(number: int) -> OpeningPacket:
    return OpeningPacket(17, 1, 2, number, 53)


def test_a_flow_that_was_let_in_just_now_is_known(limits: FlowLimits) -> None:
    """By its opening packet, with its endpoint, until the kernel is asked or somebody
    goes: from then on what has ended is not counted.
    """
    ways: tuple[Callable[[], object], ...] = (
        lambda: limits.begin_recount(0.0),
        lambda: limits.forget(BOB),
    )
    for forget in ways:
        assert 0 == limits.endpoint_given(opening(1))
        limits.opened(ALICE, opening(1), 7)
        assert (7, 0) == (
            limits.endpoint_given(opening(1)),
            limits.endpoint_given(opening(2)),
        )
        forget()
        assert 0 == limits.endpoint_given(opening(1))


def test_what_is_known_has_a_ceiling(limits: FlowLimits) -> None:
    """The last are known, as many as the queue holds."""
    for number in range(3 * RECENT + 1):
        limits.opened(ALICE, opening(number), 2)
    known = [
        number
        for number in range(3 * RECENT + 1)
        if limits.endpoint_given(opening(number))
    ]
    assert [*range(2 * RECENT, 3 * RECENT + 1)] == known


@pytest.mark.parametrize(("count", "full"), [(2, False), (3, True), (4, True)])
def test_a_guest_is_full_at_its_ceiling(
    limits: FlowLimits, count: int, *, full: bool
) -> None:
    """One below is not, the ceiling is; the neighbour is not concerned."""
    open_flows(limits, ALICE, count)
    assert full is (Reason.GUEST_LIMIT is limits.why_full(ALICE))
    assert limits.why_full(BOB) is None


@pytest.mark.parametrize(("count", "full"), [(1, False), (2, True)])
def test_the_host_is_full_at_its_ceiling(
    limits: FlowLimits, count: int, *, full: bool
) -> None:
    """All guests together."""
    open_flows(limits, ALICE, 3)
    open_flows(limits, BOB, count)
    assert full is (Reason.HOST_LIMIT is limits.why_full(BOB))


@pytest.mark.parametrize(
    ("most", "others", "own", "full"),
    [
        (100, 88, 0, False),
        (100, 87, 1, True),
        (100, 86, 1, False),
        (128, 111, 1, False),
        (128, 110, 2, True),
        (63, 61, 1, False),
        (63, 62, 1, True),
    ],
)
def test_the_last_eighth_is_for_guests_with_few(
    most: int, others: int, own: int, *, full: bool
) -> None:
    """For those with less than a sixty-fourth of all; where that is less than one flow,
    nothing is kept for anybody.
    """
    limits = FlowLimits(LinkLocalFlowsConfig(max_system_flows=most, max_vm_flows=most))
    open_flows(limits, ALICE, others)
    open_flows(limits, BOB, own)
    assert full is (Reason.HOST_LIMIT is limits.why_full(BOB))


def test_a_guest_that_may_have_one_flow_may_have_one() -> None:
    """Without any it is not full."""
    limits = FlowLimits(LinkLocalFlowsConfig(max_system_flows=5, max_vm_flows=1))
    assert limits.why_full(ALICE) is None
    open_flows(limits, ALICE, 1)
    assert Reason.GUEST_LIMIT is limits.why_full(ALICE)


def test_a_guest_that_goes_takes_its_own_flows_along(limits: FlowLimits) -> None:
    """And no others, from the sum as well."""
    open_flows(limits, ALICE, 3)
    open_flows(limits, BOB, 1)
    limits.forget(BOB)
    assert (3, 1) == (limits.counts().now, limits.counts().guests)
    assert limits.begin_recount(0.0)
    limits.recounted({ALICE: 3})
    limits.forget(ALICE)
    assert (0, 0) == (limits.counts().now, limits.counts().guests)


def test_what_the_kernel_says_replaces_the_count(limits: FlowLimits) -> None:
    """Flows that ended make room."""
    open_flows(limits, ALICE, 3)
    assert limits.begin_recount(0.0)
    limits.recounted({ALICE: 1, BOB: 2})
    assert limits.why_full(ALICE) is None
    assert (3, 3, 2) == (
        limits.counts().now,
        limits.counts().peak,
        limits.counts().guests,
    )


def test_the_kernel_is_asked_at_most_once_in_an_interval(limits: FlowLimits) -> None:
    """A flood at the ceiling costs one count a second, not one a packet."""
    assert limits.begin_recount(100.0)
    limits.recounted({})
    assert not limits.begin_recount(100.0 + RECOUNT_INTERVAL / 2)
    assert limits.begin_recount(100.0 + RECOUNT_INTERVAL)


def test_one_count_at_a_time(limits: FlowLimits) -> None:
    """A kernel that is slow is not asked by two; one that failed may be asked again."""
    assert limits.begin_recount(100.0)
    open_flows(limits, ALICE, 1)
    assert not limits.begin_recount(200.0)
    assert not limits.begin_usual_recount(200.0)
    limits.not_counted()
    assert limits.begin_usual_recount(200.0)


def test_what_is_opened_during_a_count_is_not_lost(limits: FlowLimits) -> None:
    """The kernel may have looked there already."""
    open_flows(limits, ALICE, 1)
    assert limits.begin_recount(100.0)
    open_flows(limits, ALICE, 2)
    limits.recounted({ALICE: 1})
    assert Reason.GUEST_LIMIT is limits.why_full(ALICE)
    assert (3, 1) == (limits.counts().now, limits.counts().peak)


def test_numbers_are_made_right_from_time_to_time(limits: FlowLimits) -> None:
    """While there is any flow; an idle host is not asked."""
    assert not limits.begin_usual_recount(100.0)
    open_flows(limits, ALICE, 3)
    assert limits.begin_usual_recount(100.0)
    limits.recounted({ALICE: 1})
    assert not limits.begin_usual_recount(100.0 + USUAL_INTERVAL / 2)
    assert limits.begin_usual_recount(100.0 + USUAL_INTERVAL)
    limits.recounted({})
    assert not limits.begin_usual_recount(1000.0)


def test_the_peak_stays(limits: FlowLimits) -> None:
    """It is the most that the kernel counted; what it did not see is not in it."""
    open_flows(limits, ALICE, 3)
    for second, alive in enumerate(({ALICE: 2}, {})):
        assert limits.begin_recount(second * RECOUNT_INTERVAL)
        limits.recounted(alive)
    assert 2 == limits.counts().peak


def test_what_a_ceiling_keeps_out_is_counted(limits: FlowLimits) -> None:
    """For the pages."""
    limits.refused()
    open_flows(limits, ALICE, 1)
    assert FlowCounts(now=1, peak=0, refused=1, guests=1) == limits.counts()


def test_a_full_host_has_room_for_who_needs_little() -> None:
    """Guests that take all they get leave an eighth to those that have almost none."""
    limits = FlowLimits(LinkLocalFlowsConfig(max_system_flows=640, max_vm_flows=640))
    open_flows(limits, ALICE, 559)
    assert limits.why_full(ALICE) is None
    open_flows(limits, ALICE, 1)
    assert Reason.HOST_LIMIT is limits.why_full(ALICE)
    open_flows(limits, BOB, 9)
    assert limits.why_full(BOB) is None
    open_flows(limits, BOB, 1)
    assert Reason.HOST_LIMIT is limits.why_full(BOB)
    for index in range(100, 107):
        open_flows(limits, index, 10)
    assert Reason.HOST_LIMIT is limits.why_full(200)


def test_who_is_gone_counts_no_more(limits: FlowLimits) -> None:
    """The next guest with this number starts at zero."""
    open_flows(limits, ALICE, 3)
    limits.forget(ALICE)
    limits.forget(BOB)
    assert limits.why_full(ALICE) is None
    assert 0 == limits.counts().now
