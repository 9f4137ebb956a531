"""What is asked of a figure, and whether it was reached. Pure; knows no contestant.

A goal is about the median of one contestant in one case, or about how many times that
of a rival, or of another case, it is. A figure that nobody measured reaches nothing
and misses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MET, MISSED, UNKNOWN = "met", "missed", "not measured"

Median = Callable[[str, str], float | None]
"""The median of a figure by case and contestant; None where there is none."""


@dataclass(frozen=True, slots=True)
class Goal:
    """`rival` or `rival_case` make it a ratio. At least one of the limits is given."""

    case: str
    contestant: str
    key: str
    at_most: float | None = None
    at_least: float | None = None
    rival: str = ""
    rival_case: str = ""

    @property
    def is_ratio(self) -> bool:
        """Is it about how many times the rival's figure ours is?"""
        return bool(self.rival or self.rival_case)

    @property
    def limits(self) -> str:
        """As people read them."""
        unit = " x" if self.is_ratio else ""
        told = [
            f"{word} {limit:,g}{unit}"
            for word, limit in (("≥", self.at_least), ("≤", self.at_most))
            if limit is not None
        ]
        return " and ".join(told)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and what was measured, as a ratio where the goal is one."""

    goal: Goal
    value: float | None

    @property
    def word(self) -> str:
        """One of MET, MISSED, UNKNOWN."""
        goal, value = self.goal, self.value
        if value is None:
            return UNKNOWN
        low = goal.at_least is None or value >= goal.at_least
        high = goal.at_most is None or value <= goal.at_most
        return MET if low and high else MISSED


def judge(goal: Goal, median: Median) -> Verdict:
    """Hold the goal against medians, all of the goal's figure."""
    ours = median(goal.case, goal.contestant)
    if ours is None or not goal.is_ratio:
        return Verdict(goal, ours)
    theirs = median(goal.rival_case or goal.case, goal.rival or goal.contestant)
    return Verdict(goal, ours / theirs if theirs else None)
