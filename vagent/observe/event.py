"""What an event is: one typed value, emitted where a decision is made.

Counter, trace entry and log line derive from it, so no decision is reported twice.
Every room declares its own events in its `events.py`, as subclasses. An event never
carries a body, a secret or a token.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Metric:
    """What a counter or a histogram is called, and what it means.

    `name` is the Prometheus name without the prefix `vagent_`; `help` is one or two
    whole sentences for operators, who read them as the HELP text. Events that share a
    counter share the Metric, so that there is one text for it. `label` is the name of
    its only label, where it has one.
    """

    name: str
    help: str
    label: str = "reason"


class Event:
    """Base of all events.

    A subclass is a `@dataclass(slots=True)` that sets the class variables and, if it
    is traced or logged, `text`. It is cheap to create; nothing is rendered before
    somebody reads. A class that has subclasses is a base of theirs and not emitted.
    """

    __slots__ = ()

    counter: ClassVar[Metric | None] = None
    """Counts these events; None: they are not counted."""
    buffer: ClassVar[str | None] = None
    """Name of the Sandesh trace buffer, e.g. `Metadata`; None: not traced."""
    sandesh: ClassVar[str] = ""
    """Sandesh type shown in Contrail's trace line, e.g. `MetadataTrace`."""
    level: ClassVar[str | None] = None
    """twisted.logger level name (`info`, `warn`, `error`); None: not logged."""
    histogram: ClassVar[Metric | None] = None
    """Histogram that `seconds` goes into; None: not timed."""
    timed_as: ClassVar[str] = ""
    """The value of the histogram's only label (`Metric.label`), or "" for none."""
    seconds: float
    """How long it took. Only where `histogram` is set, as a field of the subclass."""

    def label(self) -> str:
        """The value of the counter's only label (`Metric.label`), or "" for none.

        It comes from a closed set, so that the number of series is bounded.
        """
        return ""

    def text(self) -> str:
        """One line for people: the log, and Contrail's trace line."""
        return ""

    def facts(self) -> dict[str, Any]:
        """The same for programs: the fields by name. The fields of a field that is a
        dataclass itself stand beside the others.
        """
        return dict(_facts(self))

    def is_fault(self) -> bool:
        """Whether something went wrong. By default that is so for events that are
        logged as a warning or worse; a class may decide otherwise.
        """
        return self.level in ("warn", "error", "critical")


def _facts(value: Any) -> Iterator[tuple[str, Any]]:
    for each in fields(value) if is_dataclass(value) else ():
        found = getattr(value, each.name)
        if is_dataclass(found):
            yield from _facts(found)
        else:
            yield each.name, found


def event_classes(base: type[Event] = Event) -> Iterator[type[Event]]:
    """Every class of events that can be emitted, of all modules imported so far."""
    for each in base.__subclasses__():
        if each.__subclasses__():
            yield from event_classes(each)
        elif getattr(sys.modules.get(each.__module__), each.__name__, None) is each:
            # Not the class that `dataclass(slots=True)` made this one from.
            yield each


Emit = Callable[[Event], None]
