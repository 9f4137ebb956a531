"""Trace buffers: which there are, and what one of them holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from introspect.page import Cell, Column, Form, FormField, Page, Table, link
from introspect.query import whole
from introspect.schema import attribute
from introspect.sources import Sources
from introspect.trace_line import source_of, trace_line
from vagent.observe.traces import TraceEntry


@dataclass(frozen=True, slots=True)
class SandeshTraceBufInfo:
    """One buffer."""

    trace_buf_name: str = attribute(
        "string", 1, link="SandeshTraceRequest", title="Buffer"
    )


@dataclass(frozen=True, slots=True)
class SandeshTraceBufferListResponse:
    """All buffers, sorted by name."""

    trace_buffer_list: tuple[SandeshTraceBufInfo, ...] = attribute(
        "list", 1, item="struct", title="Buffers"
    )


@dataclass(frozen=True, slots=True)
class SandeshTraceTextResponse:
    """The lines of one buffer, oldest first."""

    traces: tuple[str, ...] = attribute("list", 1, item="string", title="Traces")


def buffer_list(sources: Sources, _arguments: Mapping[str, str]) -> Page:
    """Every buffer, with what it holds."""
    names = sources.traces.names()
    rows = tuple(
        (
            Cell(name, link("SandeshTraceRequest", x=name)),
            Cell(f"{sources.traces.count(name):,}"),
            _latest(sources, name),
        )
        for name in names
    )
    columns = (Column("Buffer"), Column("Entries", is_number=True), Column("Latest"))
    return Page(
        "Traces",
        "The agent's recent decisions, one line each. A full buffer drops its oldest.",
        (
            SandeshTraceBufferListResponse(
                tuple(SandeshTraceBufInfo(name) for name in names)
            ),
        ),
        (Table("", columns, rows, "No buffer yet: nothing was traced."),),
    )


def trace(sources: Sources, arguments: Mapping[str, str]) -> Page:
    """The newest `count` entries of a buffer, or all."""
    name = arguments.get("buf_name", "")
    count = whole(arguments.get("count"))
    entries = sources.traces.entries(name, count)
    return Page(
        f"Trace {name}".strip(),
        f"{len(entries):,} entries, newest first.",
        (SandeshTraceTextResponse(tuple(map(trace_line, entries))),),
        (
            Form(
                "/Snh_SandeshTraceRequest",
                "Show",
                (
                    FormField("buf_name", "Buffer", name),
                    FormField("count", "Newest, or all", arguments.get("count", "")),
                ),
            ),
            _table(entries),
        ),
    )


def _table(entries: Sequence[TraceEntry]) -> Table:
    """Newest first; the guest's port and the request where such a thing is traced."""
    facts = [entry.facts for entry in entries]
    has_port = any(each.get("port_id") for each in facts)
    has_request = any(each.get("request") for each in facts)
    rows = []
    for entry, its in zip(reversed(entries), reversed(facts), strict=True):
        row = [
            Cell(utc(entry.time), tone="code"),
            Cell(entry.text, tone="bad" if entry.is_fault else ""),
        ]
        if has_port:
            row.append(_port(str(its.get("port_id", "")), str(its.get("tap", ""))))
        if has_request:
            row.append(Cell(str(its.get("request", "")), tone="code"))
        row.append(Cell("{}:{}".format(*source_of(type(entry.event))), tone="quiet"))
        rows.append(tuple(row))
    titles = ["Time (UTC)", "What happened"]
    titles += ["Port"] * has_port + ["Request"] * has_request + ["Decided in"]
    empty = "Nothing was traced here since the agent started."
    return Table("", tuple(map(Column, titles)), tuple(rows), empty)


def _port(port_id: str, tap: str) -> Cell:
    return Cell(tap, link("ItfReq", uuid=port_id) if port_id else "")


def utc(seconds: float) -> str:
    """A readable time, down to milliseconds; the number itself if it is no time."""
    try:
        when = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return str(seconds)
    return f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03}"


def _latest(sources: Sources, name: str) -> Cell:
    newest = sources.traces.entries(name, 1)
    if not newest:
        return Cell("nothing yet", tone="quiet")
    return Cell(f"{utc(newest[0].time)}  {newest[0].text}", tone="quiet")
