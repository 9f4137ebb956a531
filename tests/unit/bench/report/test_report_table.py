"""The table that people read."""

from __future__ import annotations

from bench.report.figures import Column, Part
from bench.report.goals import Goal
from bench.report.table import render

COLUMNS = (
    Column("rate", "req/s (min–max)", spread=True),
    Column("cost", "µs", digits=1),
    Column("errors", "errors", compare=False),
)


def race(*contestants: str, rounds: int = 3) -> Part:
    """Each contestant is 1,000 req/s faster than the one before."""
    part = Part("A", "a race", COLUMNS)
    for number in range(rounds):
        for place, contestant in enumerate(contestants, 1):
            part.add(
                "sixteen",
                contestant,
                {"rate": place * 1000.0 + number, "cost": 10.0 / place, "errors": 0.0},
            )
    return part


def test_a_pair_gets_a_line_of_ratios() -> None:
    """First through second, where a column allows comparison."""
    lines = render(race("us", "them")).splitlines()
    assert ["A  a race", ""] == lines[:2]
    assert "sixteen  us     1,001 (1,000–1,002)    10.0       0" == lines[3]
    assert ["them", "2,001", "(2,000–2,002)", "5.0", "0"] == lines[4].split()
    assert ["ratio", "0.50", "x", "2.00", "x"] == lines[5].split()


def test_one_contestant_gets_no_ratio() -> None:
    """What has no rival is not compared with itself."""
    assert "ratio" not in render(race("us"))


def test_a_single_round_shows_no_range() -> None:
    """A range of one run would say nothing."""
    assert "–1" not in render(race("us", rounds=1))


def test_a_figure_nobody_measured_is_a_dash() -> None:
    """Never a zero that looks like a result."""
    part = Part("A", "a race", COLUMNS)
    part.add("sixteen", "us", {"rate": 1.0})
    part.add("sixteen", "them", {"rate": 0.0})
    lines = render(part).splitlines()
    assert ["sixteen", "us", "1", "-", "-"] == lines[3].split()
    assert ["ratio", "-", "-"] == lines[5].split()


def test_notes_stand_below() -> None:
    """What a reader must know is with the figures it is about."""
    part = race("us")
    part.notes.append("measured on a Sunday")
    assert render(part).endswith("\n  measured on a Sunday\n")


def test_each_of_ours_is_compared_with_each_rival() -> None:
    """Where a part names its rivals, the lines say who is divided by whom."""
    part = Part("A", "a race", COLUMNS, rivals=("them", "others"))
    for contestant, rate in (("us", 8.0), ("kept", 16.0), ("them", 4.0), ("others", 2)):
        part.add("sixteen", contestant, {"rate": rate})
    lines = [line.split() for line in render(part).splitlines()]
    assert ["us", ":", "them", "2.00", "x", "-"] in lines
    assert ["kept", ":", "them", "4.00", "x", "-"] in lines
    assert ["us", ":", "others", "4.00", "x", "-"] in lines
    assert ["kept", ":", "others", "8.00", "x", "-"] in lines


def test_goals_stand_below_with_what_was_measured() -> None:
    """Met, missed or not measured; a ratio says to whom."""
    goals = (
        Goal("sixteen", "us", "rate", at_least=0.9, rival="them"),
        Goal("sixteen", "us", "cost", at_most=12.0),
        Goal("sixty", "us", "cost", at_most=12.0),
    )
    part = Part("A", "a race", COLUMNS, goals=goals)
    part.add("sixteen", "us", {"rate": 1000.0, "cost": 10.0})
    part.add("sixteen", "them", {"rate": 2000.0, "cost": 5.0})
    told = [line.split("  ") for line in render(part).splitlines() if "  goal " in line]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in told]
    assert [
        ["goal missed", "sixteen", "us req/s : them", "≥ 0.9 x", "0.50 x"],
        ["goal met", "sixteen", "us µs", "≤ 12", "10.0"],
        ["goal not measured", "sixty", "us µs", "≤ 12", "-"],
    ] == cells
