"""Turns: first come, first served, and so many in one turn of the reactor."""

from __future__ import annotations

from functools import partial

from twisted.internet.task import Clock

from tests.unit.vagent.transport.one_turn import one_turn
from vagent.transport.turns import MAX_PER_TURN, Turns


def test_so_many_in_one_turn_in_their_order() -> None:
    """The rest goes on in the next one, on one timer."""
    clock = Clock()
    turns = Turns(clock)
    called: list[int] = []
    for number in range(2 * MAX_PER_TURN + 1):
        turns.later(partial(called.append, number))
    assert [] == called
    for number in (1, 2, 3):
        assert 1 == len(clock.getDelayedCalls())
        one_turn(clock)
        assert list(range(min(number * MAX_PER_TURN, 2 * MAX_PER_TURN + 1))) == called
    assert [] == clock.getDelayedCalls()


def test_who_comes_back_is_behind_the_others() -> None:
    """Also when its turn is the last of the queue."""
    clock = Clock()
    turns = Turns(clock)
    called: list[str] = []

    def greedy() -> None:
        called.append("greedy")
        turns.later(greedy)

    turns.later(greedy)
    turns.later(partial(called.append, "modest"))
    for _ in range(3):
        one_turn(clock)
        assert 1 == len(clock.getDelayedCalls())
    assert ["greedy", "modest", "greedy", "greedy"] == called
