"""Rings of recent events, one for each trace buffer; nothing is rendered here.

An entry is `(time, event)`; appending to a full ring drops the oldest. Who reads gets
the events themselves, with their facts, and writes them in its own form.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice

from vagent.observe.event import Event
from vagent.observe.facts import Fact, facts_of
from vagent.observe.oneline import one_line

TRACE_SIZE = 500
"""Entries per ring (SandeshTraceBufferCreate's figure for `Metadata`)."""
MAX_BUFFERS = 64
"""Rings per process. Names are class variables, so more of them means a bug."""
OVERFLOW = "Other"
"""Ring that takes the events of all buffers beyond the ceiling."""

Ring = deque[tuple[float, Event]]


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """An event and when it was emitted, in seconds since the epoch."""

    time: float
    event: Event

    @property
    def name(self) -> str:
        """What happened: the name of the event's class."""
        return type(self.event).__name__

    @property
    def text(self) -> str:
        """The event as a line for people: bounded and harmless."""
        return one_line(text_of(self.event))

    @property
    def facts(self) -> dict[str, Fact]:
        """The event as values for programs."""
        return facts_of(self.event)

    @property
    def is_fault(self) -> bool:
        """Whether something went wrong."""
        return self.event.is_fault()


class TraceBuffers:
    """Named rings. A ring's `append` is the hot path; all else is for readers."""

    def __init__(self, size: int = TRACE_SIZE) -> None:
        self._size = size
        self._rings: dict[str, Ring] = {}

    def __repr__(self) -> str:
        held = ", ".join(f"{name} {len(self._rings[name])}" for name in self.names())
        return f"<TraceBuffers {held or 'empty'}>"

    def ring(self, name: str) -> Ring:
        """The ring of that name, made if need be; `Other` beyond MAX_BUFFERS."""
        found = self._rings.get(name)
        if found is not None:
            return found
        if len(self._rings) >= MAX_BUFFERS - 1:
            name = OVERFLOW
        return self._rings.setdefault(name, deque(maxlen=self._size))

    def names(self) -> tuple[str, ...]:
        """Names of all rings, sorted, empty rings included."""
        return tuple(sorted(self._rings))

    def count(self, name: str) -> int:
        """How many entries a ring holds now; 0 for an unknown name."""
        return len(self._rings.get(name, ()))

    def entries(self, name: str, count: int | None = None) -> tuple[TraceEntry, ...]:
        """The newest `count` entries (all for None or less than 1), oldest first.

        An unknown name has none. Contrail returns the oldest `count`, which are never
        the ones that an operator looks for.
        """
        ring = self._rings.get(name, ())
        skip = max(0, len(ring) - count) if count is not None and count > 0 else 0
        return tuple(TraceEntry(*entry) for entry in islice(ring, skip, None))


def text_of(event: Event) -> str:
    """The event's text, or what went wrong while it was made. Never raises."""
    try:
        return event.text()
    except Exception as error:  # one bad event must not hide the others
        return f"<no text: {type(error).__name__}>"
