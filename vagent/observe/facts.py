"""The facts of an event as values that JSON knows: bounded, harmless, never failing."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from enum import Enum

from vagent.observe.event import Event
from vagent.observe.oneline import one_line

Fact = str | int | float | bool | None | list["Fact"]
"""Durations are seconds, sizes are bytes, addresses and UUIDs are text."""

MAX_ITEMS = 64
"""Of a fact that is a list."""


def facts_of(event: Event) -> dict[str, Fact]:
    """The event's facts by name; none where they cannot be made."""
    try:
        return {name: plain(value) for name, value in event.facts().items()}
    except Exception:  # one bad event must not hide the others
        return {}


def plain(value: object) -> Fact:
    """A value as JSON has it. What JSON has no form for becomes text on one line.

    A member of an enum is its text, or its name where it has none.
    """
    if isinstance(value, Enum):
        return value.value if isinstance(value.value, str) else value.name
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return one_line(value.decode("ascii", "backslashreplace"))
    if isinstance(value, Collection) and not isinstance(value, str | Mapping):
        return [plain(each) for each in list(value)[:MAX_ITEMS]]
    return one_line(str(value))
