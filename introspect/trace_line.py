"""A trace entry as Contrail writes it: one line of text.

`<UTC microseconds> <SandeshName>: <text> <source file> <line>`, where the source is the
method that made the text.
"""

from __future__ import annotations

from vagent.observe.event import Event
from vagent.observe.traces import TraceEntry


def trace_line(entry: TraceEntry) -> str:
    """The entry as Contrail writes it. The entry's text has no control characters, so
    the line can be put into XML and printed on a terminal.
    """
    kind = type(entry.event)
    source, line = source_of(kind)
    sandesh = kind.sandesh or entry.name
    return f"{round(entry.time * 1e6)} {sandesh}: {entry.text} {source} {line}"


def source_of(kind: type[Event]) -> tuple[str, int]:
    """File and line of the text of a class of events; line 0 where it has none."""
    path = kind.__module__.replace(".", "/") + ".py"
    if kind.text is Event.text:
        return path, 0
    return path, kind.text.__code__.co_firstlineno
