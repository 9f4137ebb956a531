"""The agent as a whole: its state for tools, and the front page for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from introspect.page import (
    Cell,
    Column,
    Fact,
    FactTable,
    Page,
    Table,
    Tile,
    Tiles,
    link,
)
from introspect.pages.judgements import judgement_blocks
from introspect.pages.traces import utc
from introspect.schema import attribute
from introspect.sources import Sources
from introspect.trace_json import PATH
from vagent.judgements.judgement import Judgement, Severity

LATEST = 8
"""Entries of traces on the front page: what fits below the tiles."""


@dataclass(frozen=True, slots=True)
class AgentInitState:
    """Contrail's values: `InitDone` or `InProgress`."""

    state: str = attribute("string", 1, title="State")


def init_state(sources: Sources, _arguments: Mapping[str, str]) -> Page:
    """Is the agent ready?"""
    reason = sources.ready()
    state = AgentInitState("InitDone" if reason is None else "InProgress")
    return Page("Agent state", reason or "Everything is in place.", (state,))


def overview(sources: Sources, modules: tuple[str, ...]) -> Page:
    """Links to all pages, with the most important number of each."""
    judgements = sources.judgements()
    state = _state(sources.ready(), judgements)
    return Page(
        "Overview",
        "This agent answers link-local services, metadata above all, for the guests "
        "of this host.",
        (),
        (
            *judgement_blocks(judgements),
            Tiles((state, *_traffic(sources), *_inventory(sources))),
            _latest(sources),
            _guide(),
            _tools(modules),
        ),
    )


def _latest(sources: Sources) -> Table:
    newest = [
        (entry, name)
        for name in sources.traces.names()
        for entry in sources.traces.entries(name, LATEST)
    ]
    newest.sort(key=lambda pair: pair[0].time, reverse=True)
    rows = tuple(
        (
            Cell(utc(entry.time), tone="code"),
            Cell(name, link("SandeshTraceRequest", x=name)),
            Cell(entry.text, tone="bad" if entry.is_fault else ""),
        )
        for entry, name in newest[:LATEST]
    )
    columns = (Column("Time (UTC)"), Column("Trace"), Column("What happened"))
    empty = "Nothing yet: no guest has asked since the agent started."
    return Table("Latest decisions", columns, rows, empty)


def _guide() -> FactTable:
    steps = (
        ("Link-local services", "LinkLocalServiceInfo", "Is the service provisioned?"),
        ("Interfaces", "ItfReq", "Is the guest registered, and its interface active?"),
        ("Metadata proxy", "MetadataInfo", "Do requests arrive? Is an upstream up?"),
        ("Traces", "SandeshTraceBufferListRequest", "What was decided of this guest?"),
    )
    rows = tuple(
        Fact(f"Step {number}", Cell(title, link(request)), question)
        for number, (title, request, question) in enumerate(steps, 1)
    )
    return FactTable("When a guest gets no answer", rows)


def _tools(modules: tuple[str, ...]) -> FactTable:
    rows = tuple(
        Fact(f"{module}.xml", Cell("requests", f"/{module}.xml")) for module in modules
    )
    ends = (
        Fact("/metrics", Cell("Prometheus", "/metrics")),
        Fact(PATH, Cell("traces as JSON", PATH)),
        Fact("/status", Cell("what is wrong, as JSON", "/status")),
        Fact("/readyz", Cell("readiness", "/readyz"), "503 with the reason if not."),
    )
    return FactTable("For tools", rows + ends)


def _state(reason: str | None, judgements: Sequence[Judgement]) -> Tile:
    """Green only where nothing is known to stop a guest."""
    page = "/Snh_AgentInitStateReq"
    if reason is not None:
        return Tile("Agent", page, "Not ready", "", reason, "bad")
    wrong = sum(one.severity is Severity.WRONG for one in judgements)
    if wrong:
        about = "Guests get errors: see what is wrong, and what mends it, above."
        return Tile("Agent", page, f"{wrong:,}", "wrong", about, "bad")
    about = "Rules, listener and configuration are in place."
    return Tile("Agent", page, "Ready", "", about, "good")


def _traffic(sources: Sources) -> tuple[Tile, ...]:
    snapshot = sources.statistics.snapshot()
    requests = snapshot.total("metadata_requests_total")
    errors = snapshot.total("metadata_internal_errors_total")
    trapped = snapshot.total("datapath_verdicts_total")
    return (
        Tile(
            "Metadata proxy",
            "/Snh_MetadataInfo",
            f"{requests:,}",
            "requests",
            f"{errors:,} answered with an error of the agent's own.",
        ),
        Tile(
            "Statistics",
            "/Snh_StatisticsInfo",
            f"{trapped:,}",
            "packets trapped",
            "All counters, gauges and latencies, with their meaning.",
        ),
    )


def _inventory(sources: Sources) -> tuple[Tile, ...]:
    registrations = tuple(sources.registrations())
    active = sum(sources.port_state(each) == "Active" for each in registrations)
    services = tuple(sources.services())
    traces = sources.traces
    held = sum(traces.count(name) for name in traces.names())
    named = ", ".join(sorted({each.name for each in services})[:4])
    return (
        Tile(
            "Interfaces",
            "/Snh_ItfReq",
            f"{len(registrations):,}",
            "guest interfaces",
            f"{active:,} active. Their addresses, owners and identities.",
        ),
        Tile(
            "Link-local services",
            "/Snh_LinkLocalServiceInfo",
            f"{len(services):,}",
            "services",
            named or "None is provisioned, so guests get no answer.",
        ),
        Tile(
            "Traces",
            "/Snh_SandeshTraceBufferListRequest",
            f"{held:,}",
            "recent decisions",
            "What the agent decided, and why, line by line.",
        ),
    )
