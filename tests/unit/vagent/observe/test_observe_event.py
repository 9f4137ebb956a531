"""Promises of vagent.observe.event."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from vagent.observe.event import Event, event_classes


@dataclass(frozen=True, slots=True)
class Who:
    port_id: str
    tap: str


@dataclass(slots=True)
class Base(Event):
    who: Who


@dataclass(slots=True)
class Asked(Base):
    size: int


@dataclass(slots=True)
class Warned(Event):
    level = "warn"


def test_an_event_asks_for_nothing_by_default() -> None:
    """A bare event is not counted, traced, timed or logged, and says nothing."""
    event = Event()
    asked = (event.counter, event.buffer, event.level, event.histogram)
    assert (None, None, None, None) == asked
    assert ("", "", "") == (event.label(), event.text(), event.sandesh)
    assert ({}, False) == (event.facts(), event.is_fault())


def test_facts_are_the_fields() -> None:
    """Those of a field that is a value itself stand beside the others."""
    event = Asked(Who("p", "tap1"), 7)
    assert {"port_id": "p", "tap": "tap1", "size": 7} == event.facts()


@pytest.mark.parametrize(("event", "fault"), [(Warned(), True), (Event(), False)])
def test_what_is_logged_as_a_warning_is_a_fault(event: Event, fault: bool) -> None:
    """Unless its class knows better."""
    assert fault is event.is_fault()


def test_classes_are_those_that_can_be_emitted() -> None:
    """Each once, though `slots` makes a second class of it; no bases."""
    here = [each for each in event_classes() if each.__module__ == __name__]
    assert [Asked, Warned] == here
