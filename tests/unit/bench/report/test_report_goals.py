"""What is asked of a figure, and what is said of it."""

from __future__ import annotations

import pytest

from bench.report.figures import Column, Part
from bench.report.goals import MET, MISSED, UNKNOWN, Goal

COLUMNS = (Column("cost", "µs (min–max)", digits=1), Column("rate", "req/s"))


def judged(goal: Goal, *figures: tuple[str, str, float]) -> tuple[str, float | None]:
    """The word and the value, from (case, contestant, cost)."""
    part = Part("A", "a race", COLUMNS, goals=(goal,))
    for case, contestant, cost in figures:
        part.add(case, contestant, {"cost": cost})
    (verdict,) = part.verdicts()
    return verdict.word, verdict.value


@pytest.mark.parametrize(
    ("cost", "word"), [(9.9, MISSED), (10.0, MET), (20.0, MET), (20.1, MISSED)]
)
def test_a_limit_is_reached_when_it_is_touched(cost: float, word: str) -> None:
    """From both sides."""
    goal = Goal("sixteen", "us", "cost", at_least=10.0, at_most=20.0)
    assert (word, cost) == judged(goal, ("sixteen", "us", cost))
    assert "≥ 10 and ≤ 20" == goal.limits


def test_a_ratio_is_ours_by_the_rivals() -> None:
    """In the same case, of medians."""
    goal = Goal("sixteen", "us", "cost", at_most=2.0, rival="them")
    figures = [("sixteen", "us", 50.0), ("sixteen", "us", 30.0), ("one", "them", 1.0)]
    assert (MET, 2.0) == judged(goal, *figures, ("sixteen", "them", 20.0))
    assert "≤ 2 x" == goal.limits


def test_a_ratio_may_be_to_another_case() -> None:
    """Of the same contestant."""
    goal = Goal("many", "us", "cost", at_most=1.2, rival_case="few")
    assert (MISSED, 1.5) == judged(goal, ("few", "us", 2.0), ("many", "us", 3.0))


@pytest.mark.parametrize(
    "figures",
    [[], [("sixteen", "us", 1.0)], [("sixteen", "them", 1.0)]],
)
def test_what_nobody_measured_is_neither_met_nor_missed(
    figures: list[tuple[str, str, float]],
) -> None:
    """A quick run leaves cases out."""
    goal = Goal("sixteen", "us", "cost", at_most=2.0, rival="them")
    assert (UNKNOWN, None) == judged(goal, *figures)


def test_a_rival_that_cost_nothing_gives_no_verdict() -> None:
    """There is no ratio to zero."""
    goal = Goal("sixteen", "us", "cost", at_most=2.0, rival="them")
    figures = [("sixteen", "us", 1.0), ("sixteen", "them", 0.0)]
    assert (UNKNOWN, None) == judged(goal, *figures)
