"""Runs become medians, ranges and ratios."""

from __future__ import annotations

import json

import pytest

from bench.report.figures import Column, Part, Spread, as_json, percentile, ratio
from bench.report.goals import Goal


def part_with(*runs: tuple[str, str, float], goals: tuple[Goal, ...] = ()) -> Part:
    """A part with one column, `rate`, from (case, contestant, rate)."""
    part = Part("A", "a race", (Column("rate", "req/s"),), goals=goals)
    for case, contestant, rate in runs:
        part.add(case, contestant, {"rate": rate})
    return part


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], Spread(7.0, 7.0, 7.0)),
        ([9.0, 1.0, 2.0], Spread(2.0, 1.0, 9.0)),
        ([4.0, 1.0, 2.0, 3.0], Spread(2.5, 1.0, 4.0)),
    ],
)
def test_spread_is_median_least_and_greatest(
    values: list[float], expected: Spread
) -> None:
    """One wild run moves the range, not the figure."""
    assert expected == Spread.of(values)


def test_spread_of_nothing_is_refused() -> None:
    """A figure that nobody measured is never zero."""
    with pytest.raises(ValueError, match="no values"):
        Spread.of([])


def test_runs_are_kept_by_case_and_contestant() -> None:
    """Turns taken in rounds end up with who took them, in order of appearance."""
    part = part_with(
        ("one", "us", 1), ("one", "them", 2), ("two", "us", 3), ("one", "us", 5)
    )
    cases = part.cases()
    assert ["one", "two"] == list(cases)
    assert ["us", "them"] == [result.contestant for result in cases["one"]]
    assert Spread(3.0, 1, 5) == cases["one"][0].spread("rate")
    assert cases["two"][0].spread("no such column") is None


def test_ratio_divides_our_median_by_the_rivals() -> None:
    """Twice as much is 2, whatever the ranges."""
    assert 2.0 == ratio(Spread(10, 0, 99), Spread(5, 1, 50))


@pytest.mark.parametrize("rival", [None, Spread(0, 0, 0)])
def test_there_is_no_ratio_to_nothing(rival: Spread | None) -> None:
    """A rival without a figure gives no ratio rather than a crash or infinity."""
    assert ratio(Spread(1, 1, 1), rival) is None


@pytest.mark.parametrize(
    ("count", "percent", "expected"),
    [(0, 99, 0.0), (1, 99, 1.0), (100, 50, 50.0), (100, 99, 99.0), (100, 100, 100.0)],
)
def test_percentile_is_a_value_that_was_seen(
    count: int, percent: float, expected: float
) -> None:
    """Nearest rank, so no value is made up."""
    assert expected == percentile(range(count, 0, -1), percent)


def test_json_holds_every_run() -> None:
    """results.json is enough to compute everything that the table shows."""
    goal = Goal("one", "us", "rate", at_least=2.0)
    part = part_with(("one", "us", 1.0), ("one", "us", 3.0), goals=(goal,))
    told = json.loads(json.dumps(as_json(part)))
    assert "A" == told["part"]
    assert {"median": 2.0, "min": 1.0, "max": 3.0, "runs": [1.0, 3.0]} == told[
        "results"
    ][0]["figures"]["rate"]
    (verdict,) = told["goals"]
    assert ("one", "≥ 2", 2.0, "met") == tuple(
        verdict[key] for key in ("case", "limit", "value", "verdict")
    )
