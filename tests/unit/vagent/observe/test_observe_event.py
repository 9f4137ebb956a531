"""Promises of vagent.observe.event."""

from __future__ import annotations

from vagent.observe.event import Event


def test_an_event_asks_for_nothing_by_default() -> None:
    """A bare event is not counted, traced, timed or logged, and says nothing."""
    event = Event()
    asked = (event.counter, event.buffer, event.level, event.histogram)
    assert asked == (None, None, None, None)
    assert (event.label(), event.text(), event.sandesh) == ("", "", "")
