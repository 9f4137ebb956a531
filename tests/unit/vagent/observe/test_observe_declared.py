"""Promises of every event that is declared anywhere in the product."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import fields

import pytest

from introspect.trace_json import ENTRY_MEMBERS
from tests.unit.vagent.observe.declared import (
    REFERENCE,
    declared,
    documented,
    sample,
    summary,
)
from vagent.observe.event import Event, Metric
from vagent.observe.facts import facts_of
from vagent.observe.traces import text_of

OF_A_TRACE = set(ENTRY_MEMBERS)
"""What every entry has, so no fact may have its name."""

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
    """All of its events say a reason, or none does: their sum means something. So with
    a histogram and its outcomes.
    """
    labels = {
        bool(sample(kind).label() if kind.counter is metric else kind.timed_as)
        for kind in by_metric()[metric]
    }
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


def test_the_reference_is_true() -> None:
    """docs/traces.md has every event with its facts: what other programs rely on.

    After a change that is meant: `python -m tests.unit.vagent.observe.declared`.
    """
    assert REFERENCE.read_text("utf-8") == documented()
