"""The table that people read."""

from __future__ import annotations

from bench.figures import Column, Part
from bench.table import render

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
