"""Traces as JSON: events with their facts as values, for programs.

`GET /vagent/traces` lists the buffers, `GET /vagent/traces/NAME` gives the entries of
one, oldest first. docs/traces.md says what programs can rely on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from vagent.observe.traces import TraceBuffers, TraceEntry

PATH = "/vagent/traces"
CONTENT_TYPE = "application/json"
VERSION = 1
"""Of the form. Members and events may be added to it; another version is needed where
one that is there goes, or means something else."""
FILTERS = ("port_id", "request")
"""Facts by which entries are chosen: an entry has that fact, with that value."""
ENTRY_MEMBERS = ("time", "event", "fault", "text")
"""What every entry has; its other members are the event's facts."""
MAX_PARAMETERS = 8
MAX_COUNT_DIGITS = 9


@dataclass(frozen=True, slots=True)
class TraceQuery:
    """Which entries: those with these facts, and of them the newest `count` (None: all
    of them).
    """

    facts: Mapping[str, str]
    count: int | None


def answer(traces: TraceBuffers, path: str, query: str) -> tuple[int, bytes]:
    """Status and body for a path that is PATH or below it."""
    name = unquote(path.removeprefix(PATH).removeprefix("/"))
    if not name:
        return 200, _document(buffers=_buffers(traces))
    if name not in traces.names():
        there = ", ".join(traces.names()) or "none"
        return _error(404, f"no trace buffer {name[:80]!r}; there are: {there}")
    try:
        wanted = parse_query(query)
    except ValueError as error:
        return _error(400, str(error))
    return 200, _document(buffer=name, entries=_entries(traces, name, wanted))


def parse_query(query: str) -> TraceQuery:
    """Raises ValueError for what is not understood: a filter that is misspelt must not
    look as if it had matched everything.
    """
    facts: dict[str, str] = {}
    count = None
    for name, value in parse_qsl(
        query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS
    ):
        if name in FILTERS:
            facts[name] = value
        elif name == "count" and value.isdecimal() and len(value) <= MAX_COUNT_DIGITS:
            count = int(value)
        else:
            allowed = ", ".join((*FILTERS, "count (a number)"))
            raise ValueError(f"{name[:40]}={value[:80]!r}; allowed: {allowed}")
    return TraceQuery(facts, count)


def _buffers(traces: TraceBuffers) -> list[dict[str, Any]]:
    return [{"name": each, "entries": traces.count(each)} for each in traces.names()]


def _entries(
    traces: TraceBuffers, name: str, wanted: TraceQuery
) -> list[dict[str, Any]]:
    entries = [_members(each) for each in traces.entries(name)]
    for fact, value in wanted.facts.items():
        entries = [each for each in entries if each.get(fact) == value]
    return entries[-wanted.count :] if wanted.count else entries


def _members(entry: TraceEntry) -> dict[str, Any]:
    return {
        "time": round(entry.time, 6),
        "event": entry.name,
        "fault": entry.is_fault,
        **entry.facts,
        "text": entry.text,
    }


def _document(**members: Any) -> bytes:
    return json.dumps({"version": VERSION, **members}).encode() + b"\n"


def _error(status: int, text: str) -> tuple[int, bytes]:
    return status, json.dumps({"error": text}).encode() + b"\n"
