"""A program that went with somebody's queueing discipline is put back."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from tests.unit.vagent.datapath.tap.fake_tap_kernel import FakeTapKernel
from vagent.datapath.lost_filters import PUT_BACK_AFTER, LostFilters
from vagent.datapath.rules.events import RulesLost, RulesUnread
from vagent.datapath.state import Attachment
from vagent.datapath.tap.guard import TapGuard
from vagent.kernel.tc import DisciplineChange
from vagent.observe.event import Event


class Bench:
    """One tap, 11, and what was told."""

    def __init__(self, alice: Attachment) -> None:
        self.kernel, self.clock = FakeTapKernel(), Clock()
        self.told: list[Event] = []
        self.guard = TapGuard(self.kernel)
        self.guard.add(alice)
        self.lost = LostFilters(self.guard, emit=self.told.append, clock=self.clock)

    def hear(self, ifindex: int, *, is_gone: bool) -> None:
        self.kernel.taps.clear()
        self.lost.discipline_changed(DisciplineChange(ifindex, is_gone))


@pytest.fixture
def bench(alice: Attachment) -> Bench:
    return Bench(alice)


def test_one_that_has_gone_is_made_if_nobody_else_does(bench: Bench) -> None:
    """Not at once: whoever removed it may add it anew, and could not."""
    bench.hear(11, is_gone=True)
    assert (set(), []) == (bench.kernel.taps, bench.told)
    bench.clock.advance(PUT_BACK_AFTER)
    assert {11} == bench.kernel.taps
    assert [RulesLost("the program at interface 11 is gone")] == bench.told


def test_one_that_has_come_gets_the_program_at_once(bench: Bench) -> None:
    """And there is nothing to do, or to tell, a moment later."""
    bench.hear(11, is_gone=True)
    bench.hear(11, is_gone=False)
    assert ({11}, 1) == (bench.kernel.taps, len(bench.told))
    attached = list(bench.kernel.log)
    bench.clock.advance(PUT_BACK_AFTER)
    assert (attached, 1) == (bench.kernel.log, len(bench.told))


def test_what_is_no_tap_of_ours_is_left_alone(bench: Bench) -> None:
    """Nor is a program put back after the guard was closed."""
    bench.hear(12, is_gone=True)
    bench.hear(12, is_gone=False)
    bench.hear(11, is_gone=True)
    bench.guard.close()
    bench.clock.advance(PUT_BACK_AFTER)
    assert (set(), []) == (bench.kernel.taps, bench.told)


def test_a_kernel_that_refuses_is_told(bench: Bench) -> None:
    """The next look tries again."""
    bench.kernel.refuses = "attach"
    bench.hear(11, is_gone=False)
    assert [RulesUnread("no attach")] == bench.told


def test_an_interface_that_has_gone_meanwhile_lost_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel takes no program there, which is no error."""
    monkeypatch.setattr(bench.kernel, "attach", lambda _ifindex: None)
    bench.hear(11, is_gone=False)
    assert [] == bench.told
