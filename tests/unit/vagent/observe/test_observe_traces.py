"""Promises of vagent.observe.traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from vagent.observe.event import Event
from vagent.observe.traces import MAX_BUFFERS, OVERFLOW, TraceBuffers, TraceEntry


@dataclass(slots=True)
class Asked(Event):
    url: str

    sandesh: ClassVar[str] = "MetadataTrace"

    def text(self) -> str:
        return f"GET request for VM : 1.1.1.3 URL : {self.url}"


@dataclass(slots=True)
class Broken(Event):
    def text(self) -> str:
        raise KeyError("s3cret")

    def facts(self) -> dict[str, Any]:
        raise KeyError("s3cret")


def filled(count: int, size: int = 500) -> TraceBuffers:
    traces = TraceBuffers(size)
    for number in range(count):
        traces.ring("Metadata").append((1469000000.123456 + number, Asked(str(number))))
    return traces


def urls(traces: TraceBuffers, count: int | None = None) -> list[str]:
    return [
        entry.text.rpartition(" ")[2] for entry in traces.entries("Metadata", count)
    ]


def test_an_entry_is_the_event_itself() -> None:
    """With its time, its name, its facts and its text; nothing was rendered before."""
    (entry,) = filled(1).entries("Metadata")
    assert TraceEntry(1469000000.123456, Asked("0")) == entry
    assert ("Asked", {"url": "0"}, False) == (entry.name, entry.facts, entry.is_fault)
    assert "GET request for VM : 1.1.1.3 URL : 0" == entry.text


def test_oldest_first() -> None:
    """Lines come oldest first."""
    assert urls(filled(3)) == ["0", "1", "2"]


@pytest.mark.parametrize(("added", "first"), [(4, "0"), (5, "0"), (6, "1")])
def test_a_full_ring_drops_its_oldest(added: int, first: str) -> None:
    """A ring of 5 holds the newest 5."""
    assert first == urls(filled(added, size=5))[0]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, ["4"]),
        (4, ["1", "2", "3", "4"]),
        (5, ["0", "1", "2", "3", "4"]),
        (6, ["0", "1", "2", "3", "4"]),
        (0, ["0", "1", "2", "3", "4"]),
        (-3, ["0", "1", "2", "3", "4"]),
        (None, ["0", "1", "2", "3", "4"]),
    ],
)
def test_count_is_of_the_newest(count: int | None, expected: list[str]) -> None:
    """`count` takes the newest; 0, less and None take all."""
    assert expected == urls(filled(5), count)


def test_an_unknown_buffer_is_empty() -> None:
    """Asking for an unknown buffer neither fails nor makes it."""
    traces = TraceBuffers()
    assert () == traces.entries("Nope")
    assert traces.count("Nope") == 0
    assert traces.names() == ()


def test_names_are_sorted() -> None:
    """Names are sorted, empty buffers included."""
    traces = TraceBuffers()
    traces.ring("Metadata")
    traces.ring("Dhcp")
    assert traces.names() == ("Dhcp", "Metadata")


def test_buffers_have_a_ceiling() -> None:
    """At most MAX_BUFFERS rings exist; the rest share one, and nothing is lost."""
    traces = TraceBuffers()
    for number in range(MAX_BUFFERS + 3):
        traces.ring(f"b{number}").append((0.0, Asked("x")))
    assert len(traces.names()) == MAX_BUFFERS
    assert traces.count(OVERFLOW) == 4


def test_text_is_made_safe() -> None:
    """A control character in an event does not reach the line."""
    traces = TraceBuffers()
    traces.ring("Metadata").append((0.0, Asked("a\n1469 MetadataTrace: forged")))
    (entry,) = traces.entries("Metadata")
    assert "a\\n1469" in entry.text
    assert "\n" not in entry.text


def test_a_broken_event_hides_nothing() -> None:
    """Neither its text nor its facts, if they fail, and nothing of the failure."""
    traces = filled(1)
    traces.ring("Metadata").append((1.0, Broken()))
    first, second = traces.entries("Metadata")
    assert "URL : 0" in first.text
    assert ("<no text: KeyError>", {}) == (second.text, second.facts)


def test_repr_tells_what_is_held() -> None:
    """repr shows names and counts."""
    assert repr(filled(2)) == "<TraceBuffers Metadata 2>"
    assert repr(TraceBuffers()) == "<TraceBuffers empty>"
