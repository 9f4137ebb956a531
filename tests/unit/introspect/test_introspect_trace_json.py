"""Promises of introspect.trace_json: what programs read of the traces."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from introspect.trace_json import MAX_PARAMETERS, PATH, answer
from vagent.observe.event import Event
from vagent.observe.traces import TraceBuffers

ALICE = "93c2c386-6e79-485e-bfa4-000000000001"
BOB = "93c2c386-6e79-485e-bfa4-000000000002"


@dataclass(slots=True)
class Answered(Event):
    port_id: str
    request: str
    status: int

    def text(self) -> str:
        return f"answered\n{self.status}"

    def is_fault(self) -> bool:
        return self.status >= 400


@dataclass(slots=True)
class EndpointDown(Event):
    endpoint: str
    level = "warn"


@pytest.fixture
def traces() -> TraceBuffers:
    """Two ports, of which Alice has two requests, and an event of no port."""
    buffers = TraceBuffers()
    buffers.ring("Ports")
    ring = buffers.ring("Metadata")
    ring.append((1.0000001, Answered(ALICE, "a1", 200)))
    ring.append((2.0, Answered(BOB, "b1", 404)))
    ring.append((3.0, EndpointDown("10.0.0.5:8775")))
    ring.append((4.0, Answered(ALICE, "a2", 200)))
    return buffers


def read(traces: TraceBuffers, name: str, query: str = "") -> Any:
    status, body = answer(traces, f"{PATH}/{name}", query)
    assert 200 == status
    return json.loads(body)


def times(traces: TraceBuffers, query: str) -> list[float]:
    return [each["time"] for each in read(traces, "Metadata", query)["entries"]]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
def test_buffers_are_listed(traces: TraceBuffers, path: str) -> None:
    """By name, those without entries included."""
    expected = {
        "version": 1,
        "buffers": [
            {"name": "Metadata", "entries": 4},
            {"name": "Ports", "entries": 0},
        ],
    }
    status, body = answer(traces, path, "")
    assert (200, expected) == (status, json.loads(body))


def test_an_entry_is_its_facts(traces: TraceBuffers) -> None:
    """Time in seconds, the event, if it is a fault, facts as values, and the text."""
    document = read(traces, "Metadata")
    assert (1, "Metadata") == (document["version"], document["buffer"])
    assert {
        "time": 2.0,
        "event": "Answered",
        "fault": True,
        "port_id": BOB,
        "request": "b1",
        "status": 404,
        "text": "answered\\n404",
    } == document["entries"][1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [1.0, 2.0, 3.0, 4.0]),
        (f"port_id={ALICE}", [1.0, 4.0]),
        (f"port_id={BOB}", [2.0]),
        ("request=a2", [4.0]),
        (f"port_id={BOB}&request=a2", []),
        ("port_id=", []),
        ("count=1", [4.0]),
        (f"count=1&port_id={ALICE}", [4.0]),
        ("count=3", [2.0, 3.0, 4.0]),
        ("count=5", [1.0, 2.0, 3.0, 4.0]),
        ("count=0", [1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_entries_are_chosen(
    traces: TraceBuffers, query: str, expected: list[float]
) -> None:
    """By port and by request, and of those the newest; oldest first."""
    assert expected == times(traces, query)


@pytest.mark.parametrize(
    "query",
    ["port=x", "count=-1", "count=x", "count=", "count=1234567890", "guest_address=x"],
)
def test_what_is_not_understood_is_refused(traces: TraceBuffers, query: str) -> None:
    """A misspelt filter does not look as if it had matched everything."""
    status, body = answer(traces, f"{PATH}/Metadata", query)
    assert 400 == status
    assert "allowed: port_id, request, count" in json.loads(body)["error"]


def test_parameters_are_bounded(traces: TraceBuffers) -> None:
    """More of them than can be meant are refused."""
    query = "&".join(["count=1"] * (MAX_PARAMETERS + 1))
    assert 400 == answer(traces, f"{PATH}/Metadata", query)[0]


@pytest.mark.parametrize("name", ["Nope", "metadata", "..%2fMetadata", "Metadata/x"])
def test_an_unknown_buffer_is_404(traces: TraceBuffers, name: str) -> None:
    """And it is said which there are."""
    status, body = answer(traces, f"{PATH}/{name}", "")
    assert 404 == status
    assert json.loads(body)["error"].endswith("there are: Metadata, Ports")
