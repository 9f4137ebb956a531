"""Promises of introspect.trace_line: Contrail's line, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass

from introspect.trace_line import source_of, trace_line
from vagent.observe.event import Event
from vagent.observe.traces import TraceEntry


@dataclass(slots=True)
class Asked(Event):
    url: str
    sandesh = "MetadataTrace"

    def text(self) -> str:
        return f"GET request for VM : 1.1.1.3 URL : {self.url}"


@dataclass(slots=True)
class Nameless(Event):
    pass


def test_a_line_is_contrails() -> None:
    """Time in microseconds, type, text, source and line number of the text."""
    source = Asked.__module__.replace(".", "/") + ".py"
    line = Asked.text.__code__.co_firstlineno
    assert (
        "1469000000123456 MetadataTrace: GET request for VM : 1.1.1.3 URL : a\\n"
        f" {source} {line}"
    ) == trace_line(TraceEntry(1469000000.123456, Asked("a\n")))


def test_an_event_without_type_or_text_has_a_line() -> None:
    """Its class stands for the type, and line 0 for the text that it has not."""
    source, line = source_of(Nameless)
    assert 0 == line
    assert f"1000000 Nameless:  {source} 0" == trace_line(TraceEntry(1.0, Nameless()))
