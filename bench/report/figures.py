"""What was measured: runs become a median with its range. Pure; knows no unit.

A figure is the median of its rounds. Contestants take turns within a round, so that
whatever else the machine does falls on both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from bench.report.goals import Goal, Verdict, judge

RANGE = " (min–max)"
"""Ends the title of a column whose range is shown."""

Run = Mapping[str, float]
"""One round of one contestant: value by column key."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some runs, and the least and the greatest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Raises ValueError where there are none."""
        known = sorted(values)
        if not known:
            raise ValueError("no values to take the median of")
        return cls(median(known), known[0], known[-1])


@dataclass(frozen=True, slots=True)
class Column:
    """How a value is shown. `compare`: the table says how many times the rival's."""

    key: str
    title: str
    digits: int = 0
    spread: bool = False
    compare: bool = True

    @property
    def name(self) -> str:
        """The title without what it says of the range."""
        return self.title.removesuffix(RANGE)


@dataclass(frozen=True, slots=True)
class Result:
    """All runs of one contestant in one case."""

    case: str
    contestant: str
    runs: list[Run] = field(default_factory=list)

    def spread(self, key: str) -> Spread | None:
        """The figure; None where no run had it."""
        values = [run[key] for run in self.runs if key in run]
        return Spread.of(values) if values else None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the benchmark. Results of one case stand together, ours first.

    `rivals` are the contestants that others are compared with; where none is named it
    is the second of two.
    """

    letter: str
    title: str
    columns: tuple[Column, ...]
    rivals: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = ()
    results: list[Result] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, case: str, contestant: str, run: Run) -> None:
        """Take in one run."""
        for result in self.results:
            if (result.case, result.contestant) == (case, contestant):
                result.runs.append(run)
                return
        self.results.append(Result(case, contestant, [run]))

    def cases(self) -> dict[str, list[Result]]:
        """Results by case, in the order in which they were first seen."""
        found: dict[str, list[Result]] = {}
        for result in self.results:
            found.setdefault(result.case, []).append(result)
        return found

    def pairs(self, results: list[Result]) -> list[tuple[Result, Result]]:
        """Whom to compare with whom, of one case: ours and a rival."""
        if not self.rivals:
            return [(results[0], results[1])] if len(results) == 2 else []
        return [
            (ours, rival)
            for rival in results
            if rival.contestant in self.rivals
            for ours in results
            if ours.contestant not in self.rivals
        ]

    def verdicts(self) -> list[Verdict]:
        """Every goal, held against what was measured."""
        return [judge(goal, self._medians(goal.key)) for goal in self.goals]

    def column(self, key: str) -> Column:
        """Raises StopIteration where there is none of that key."""
        return next(column for column in self.columns if column.key == key)

    def _medians(self, key: str) -> Callable[[str, str], float | None]:
        known = {
            (result.case, result.contestant): spread.median
            for result in self.results
            if (spread := result.spread(key)) is not None
        }
        return lambda case, contestant: known.get((case, contestant))


def ratio(ours: Spread | None, rival: Spread | None) -> float | None:
    """Median by median; None where there is nothing to divide by."""
    if ours is None or rival is None or rival.median <= 0:
        return None
    return ours.median / rival.median


def percentile(values: Iterable[float], percent: float) -> float:
    """The value below which `percent` of them lie (nearest rank); 0 for none."""
    known = sorted(values)
    if not known:
        return 0.0
    rank = max(0, min(len(known) - 1, round(len(known) * percent / 100) - 1))
    return known[rank]


def as_json(part: Part) -> dict[str, object]:
    """The part for results.json: every figure with its range and its runs."""
    return {
        "part": part.letter,
        "title": part.title,
        "notes": part.notes,
        "results": [
            {
                "case": result.case,
                "contestant": result.contestant,
                "figures": {
                    column.key: {
                        "median": spread.median,
                        "min": spread.low,
                        "max": spread.high,
                        "runs": [r[column.key] for r in result.runs if column.key in r],
                    }
                    for column in part.columns
                    if (spread := result.spread(column.key)) is not None
                },
            }
            for result in part.results
        ],
        "goals": [
            {
                "case": verdict.goal.case,
                "contestant": verdict.goal.contestant,
                "figure": verdict.goal.key,
                "rival": verdict.goal.rival,
                "rival case": verdict.goal.rival_case,
                "limit": verdict.goal.limits,
                "value": verdict.value,
                "verdict": verdict.word,
            }
            for verdict in part.verdicts()
        ],
    }
