"""All deadlines on one timer: who is called, when, and for how long."""

from __future__ import annotations

from twisted.internet.task import Clock

from vagent.transport.deadlines import NEVER, TICK_SECONDS, Deadlines


class Watched:
    """Counts how often its deadline passed, and ends it."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.calls = 0

    def expired(self) -> None:
        self.calls += 1
        self.deadline = NEVER


def test_one_timer_and_none_when_stopped() -> None:
    """All deadlines share one timer, also beside one that fails; it ends with them."""
    clock = Clock()
    deadlines = Deadlines(clock)

    class Bomb:
        deadline = 1.0

        def expired(self) -> None:
            raise RuntimeError("bad object")

    bomb, watched = Bomb(), Watched(2.0)
    deadlines.watch(bomb)
    deadlines.watch(watched)
    assert 1 == len(clock.getDelayedCalls())
    clock.pump([TICK_SECONDS] * 12)
    assert 1 == watched.calls
    deadlines.unwatch(watched)
    clock.advance(TICK_SECONDS)
    assert [] == clock.getDelayedCalls()
    deadlines.watch(Watched(0.0))
    deadlines.stop()
    assert [] == clock.getDelayedCalls()


def test_a_deadline_passes_within_a_tick() -> None:
    """Not before its time, and at most a tick late; what was moved counts anew."""
    clock = Clock()
    deadlines = Deadlines(clock)
    watched = Watched(1.0)
    deadlines.watch(watched)
    clock.pump([TICK_SECONDS] * 3)
    assert 0 == watched.calls
    clock.advance(TICK_SECONDS)
    assert 1 == watched.calls
    watched.deadline = deadlines.now() + 10.0
    clock.pump([TICK_SECONDS] * 39)
    assert 1 == watched.calls
    clock.advance(TICK_SECONDS)
    assert 2 == watched.calls


def test_one_that_is_unwatched_by_another_is_not_called() -> None:
    """Even when both deadlines have passed at the same tick."""
    clock = Clock()
    deadlines = Deadlines(clock)
    calls: list[object] = []

    class Rival:
        deadline = 0.0

        def expired(self) -> None:
            calls.append(self)
            for other in rivals:
                deadlines.unwatch(other)

    rivals = [Rival(), Rival()]
    for one in rivals:
        deadlines.watch(one)
    clock.advance(TICK_SECONDS)
    assert 1 == len(calls)
    assert [] == clock.getDelayedCalls()
