"""Promises of every event that is declared anywhere in the product."""

from __future__ import annotations

import json
import pkgutil
import re
from collections import defaultdict
from dataclasses import fields
from datetime import UTC, datetime
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

import pytest

import introspect
import provision
import vagent
from vagent.datapath.fast_path.program import Match, Pair
from vagent.datapath.trap.decide import Reason, Verdict
from vagent.kernel.ip_packet import OpeningPacket
from vagent.metadata.events import Caller
from vagent.observe.event import Event, Metric, event_classes
from vagent.observe.facts import facts_of
from vagent.observe.traces import text_of
from vagent.ports.port import Port, Registration

ROOMS = (introspect, provision, vagent)
REFERENCE = Path(__file__).parents[4] / "docs" / "traces.md"
OF_A_TRACE = {"time", "event", "fault", "text"}
"""What every entry has, so no fact may have its name."""

ADDRESS = IPv4Address("10.0.0.3")
PORT = Port("p", "i", "t", "n", "web", "tap", "02:00:00:00:00:01", ADDRESS, None)
PAIR = Pair(ADDRESS, IPv4Address("10.9.9.9"), 4000, 53)
SAMPLES: dict[Any, Any] = {
    str: "x",
    bytes: b"/x",
    int: 7,
    float: 0.5,
    bool: True,
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
    tuple[str, ...]: ("a", "b"),
    tuple[IPv4Address | IPv6Address, ...]: (ADDRESS,),
    IPv4Address: ADDRESS,
    Caller: Caller("p", "tap", "10.0.0.3"),
    Registration: Registration(PORT, 2, IPv4Address("169.254.64.2")),
    OpeningPacket: OpeningPacket(6, 0xA9FE4002, 0xA9FEA9FE, 4000, 80),
    Verdict: Verdict(1, Reason.METADATA, "metadata"),
    Match: Match(11, bytes(6), 17, PAIR),
}
"""A value for each type that a field of an event has."""


def declared() -> list[type[Event]]:
    """All classes of events, of all rooms, in the order of their names."""
    for room in ROOMS:
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if module.name.rpartition(".")[2] in ("events", "observer"):
                import_module(module.name)
    names = tuple(room.__name__ for room in ROOMS)
    found = [e for e in event_classes() if e.__module__.partition(".")[0] in names]
    return sorted(found, key=lambda each: each.__name__)


def sample(kind: type[Event]) -> Event:
    """An event of this class."""
    hints = get_type_hints(kind)
    values = []
    for each in fields(kind):  # type: ignore[arg-type]  # each is a dataclass
        hint = hints[each.name]
        if isinstance(hint, UnionType):
            hint = get_args(hint)[0]
        values.append(SAMPLES[hint])
    return kind(*values)


DECLARED = declared()
TRACED = [kind for kind in DECLARED if kind.buffer]


def by_metric() -> dict[Metric, list[type[Event]]]:
    """Which events each counter counts, and which each histogram times."""
    found: dict[Metric, list[type[Event]]] = defaultdict(list)
    for kind in DECLARED:
        for metric in (kind.counter, kind.histogram):
            if metric is not None:
                found[metric].append(kind)
    return found


def summary(kind: type[Event]) -> str:
    """The first paragraph of the class's docstring, on one line."""
    paragraph = (kind.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(paragraph.split())


def test_events_of_events_are_found() -> None:
    """Not only direct subclasses; bases are not events themselves."""
    names = {kind.__name__ for kind in DECLARED}
    assert {"ForwardFailed", "TokenRefused", "PortRemoved", "FlowDecided"} <= names
    assert names.isdisjoint(("LocalAnswer", "MetadataEvent", "PortEvent", "Event"))


def test_names_are_unique() -> None:
    """A trace tells an event by its name."""
    assert len(DECLARED) == len({kind.__name__ for kind in DECLARED})


def test_a_counter_has_one_help() -> None:
    """However many events share it."""
    names = [metric.name for metric in by_metric()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("metric", by_metric(), ids=lambda metric: metric.name)
def test_a_help_is_whole_sentences(metric: Metric) -> None:
    """On one line, that end; the name follows Prometheus' conventions."""
    assert re.fullmatch(r"[A-Z].*[a-z)0-9]\.", metric.help)
    assert metric.help == " ".join(metric.help.split())
    assert re.fullmatch(r"[a-z][a-z0-9_]*_(total|seconds)", metric.name)


@pytest.mark.parametrize("metric", by_metric(), ids=lambda metric: metric.name)
def test_a_counter_has_labels_or_none(metric: Metric) -> None:
    """All of its events say a reason, or none does: their sum means something."""
    labels = {bool(sample(kind).label()) for kind in by_metric()[metric]}
    assert 1 == len(labels)


@pytest.mark.parametrize("kind", DECLARED, ids=lambda kind: kind.__name__)
def test_an_event_is_declared_whole(kind: type[Event]) -> None:
    """A summary that is a sentence, slots, a text where it is shown, its duration."""
    assert re.fullmatch(r"[A-Z].*\.", summary(kind))
    event = sample(kind)
    assert not hasattr(event, "__dict__")
    assert bool(kind.buffer) is bool(kind.sandesh)
    if kind.buffer or kind.level:
        assert text_of(event)
        assert not text_of(event).startswith("<no text")
    if kind.histogram:
        assert isinstance(event.seconds, float)


@pytest.mark.parametrize("kind", TRACED, ids=lambda kind: kind.__name__)
def test_facts_are_values(kind: type[Event]) -> None:
    """JSON has them, under names of their own; who has fields has facts."""
    event = sample(kind)
    facts = facts_of(event)
    assert facts == json.loads(json.dumps(facts))
    assert OF_A_TRACE.isdisjoint(facts)
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in facts)
    assert bool(fields(kind)) is bool(facts)  # type: ignore[arg-type]  # a dataclass
    assert isinstance(event.is_fault(), bool)


@pytest.mark.parametrize("kind", TRACED, ids=lambda kind: kind.__name__)
def test_who_names_a_guest_names_its_port(kind: type[Event]) -> None:
    """Two guests may have the same address, and a tap may get another guest."""
    facts = set(facts_of(sample(kind)))
    if facts & {"tap", "guest_address", "identity", "request"}:
        assert {"port_id", "tap"} <= facts


def reference() -> str:
    """The table of docs/traces.md, as it should be."""
    lines = []
    for buffer in sorted({kind.buffer or "" for kind in TRACED}):
        lines += [f"### {buffer}", "", "| event | when | facts |", "|---|---|---|"]
        for kind in TRACED:
            if kind.buffer == buffer:
                facts = ", ".join(f"`{name}`" for name in facts_of(sample(kind)))
                lines.append(f"| `{kind.__name__}` | {summary(kind)} | {facts} |")
        lines.append("")
    return "\n".join(lines).strip()


def test_the_reference_is_true() -> None:
    """docs/traces.md has every event with its facts: what other programs rely on.

    After a change that is meant, the failure shows what to write there.
    """
    _, _, table = REFERENCE.read_text("utf-8").partition("<!-- events -->\n\n")
    assert reference() == table.strip()
