"""Promises of introspect.pages.statistics."""

from __future__ import annotations

import math
from typing import Any

import pytest

from introspect.page import Bars, Table
from introspect.pages.statistics import figure, statistics_info


def test_everything_is_listed(world: Any) -> None:
    """Counters by reason, then gauges, with their meaning; histograms as bars."""
    world.count("verdicts_total", "accept", 8)
    world.count("verdicts_total", "drop", 2)
    world.statistics.gauge("flows", lambda: 41, "Flows.")
    world.statistics.histogram("unused_seconds")
    world.statistics.histogram("wait_seconds").observe(0.1)
    page = statistics_info(world.sources(), {})
    rows = [(s.name, s.reason, s.value, s.about) for s in page.parts[0].statistic_list]
    assert rows == [
        ("verdicts_total", "accept", "8", "About it."),
        ("verdicts_total", "drop", "2", "About it."),
        ("flows", "", "41", "Flows."),
    ]
    counters, gauges, bars = page.shown()
    assert isinstance(counters, Table)
    assert isinstance(gauges, Table)
    assert isinstance(bars, Bars)
    assert [row[2].text for row in counters.rows] == ["8", "2"]
    assert bars.caption == "wait seconds"


@pytest.mark.parametrize(
    ("value", "text"),
    [(41.0, "41"), (0.25, "0.25"), (1 / 3, "0.333333"), (math.nan, "unknown")],
)
def test_figures(value: float, text: str) -> None:
    """Whole numbers have no point; a gauge that failed is unknown."""
    assert figure(value) == text
    assert figure(math.inf) == "inf"
