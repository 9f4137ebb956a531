"""Every counter, gauge and histogram. Contrail has no such page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from introspect.page import Block, Cell, Column, Page, Table
from introspect.pages.metadata import latency_bars
from introspect.schema import attribute
from introspect.sources import Sources


@dataclass(frozen=True, slots=True)
class StatisticData:
    """One number. `reason` is "" where the statistic has none."""

    name: str = attribute("string", 1)
    reason: str = attribute("string", 2)
    value: str = attribute("string", 3)
    about: str = attribute("string", 4)


@dataclass(frozen=True, slots=True)
class StatisticsResponse:
    """Counters by name and reason, then gauges."""

    statistic_list: tuple[StatisticData, ...] = attribute("list", 1, item="struct")


def statistics_info(sources: Sources, _arguments: Mapping[str, str]) -> Page:
    """All statistics at this moment."""
    snapshot = sources.statistics.snapshot()
    counters = tuple(
        StatisticData(each.name, reason, str(value), each.about)
        for each in snapshot.counters
        for reason, value in each.values
    )
    gauges = tuple(
        StatisticData(each.name, "", figure(each.value), each.about)
        for each in snapshot.gauges
    )
    blocks: tuple[Block, ...] = (
        _table("Counters", counters, "Counted since the agent started."),
        _table("Gauges", gauges, "Read for this page."),
        *(
            latency_bars(each, f"{each.name} {each.value}".strip().replace("_", " "))
            for each in snapshot.histograms
            if each.count
        ),
    )
    return Page(
        "Statistics",
        "Everything the agent counts. Prometheus reads the same from /metrics.",
        (StatisticsResponse(counters + gauges),),
        blocks,
    )


def figure(value: float) -> str:
    """A gauge's value: whole numbers without decimals, others with 6 digits."""
    if math.isfinite(value) and value == int(value):
        return str(int(value))
    return "unknown" if math.isnan(value) else f"{value:.6g}"


def _table(caption: str, rows: tuple[StatisticData, ...], note: str) -> Table:
    columns = (
        Column("Name"),
        Column("Reason"),
        Column("Value", is_number=True),
        Column("Meaning"),
    )
    cells = tuple(
        (
            Cell(row.name, tone="code"),
            Cell(row.reason),
            Cell(row.value),
            Cell(row.about, tone="quiet"),
        )
        for row in rows
    )
    return Table(caption, columns, cells, "None yet.", note)
