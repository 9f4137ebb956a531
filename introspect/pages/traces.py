"""Trace buffers: which there are, and what one of them holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from introspect.page import Cell, Column, Entry, Form, Page, Table, link
from introspect.query import whole
from introspect.schema import attribute
from introspect.sources import Sources
from introspect.trace_line import source_of, trace_line


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
    rows = tuple(
        (
            Cell(utc(entry.time), tone="code"),
            Cell(entry.text),
            Cell("{}:{}".format(*source_of(type(entry.event))), tone="quiet"),
        )
        for entry in reversed(entries)
    )
    columns = (Column("Time (UTC)"), Column("What happened"), Column("Decided in"))
    return Page(
        f"Trace {name}".strip(),
        f"{len(entries):,} entries, newest first.",
        (SandeshTraceTextResponse(tuple(map(trace_line, entries))),),
        (
            Form(
                "/Snh_SandeshTraceRequest",
                "Show",
                (
                    Entry("buf_name", "Buffer", name),
                    Entry("count", "Newest, or all", arguments.get("count", "")),
                ),
            ),
            Table(
                "", columns, rows, "Nothing was traced here since the agent started."
            ),
        ),
    )


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
