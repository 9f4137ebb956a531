"""What an event is: one typed value, emitted where a decision is made.

Counter, trace line and log line derive from it, so no decision is reported twice.
Every room declares its own events in its `events.py`, as subclasses; this module
refuses to know any of them. An event never carries a body, a secret or a token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar


class Event:
    """Base of all events.

    A subclass is a `@dataclass(slots=True)` that sets the class variables and, if it
    is traced or logged, `text`. It stays cheap to create: rendering happens when
    somebody reads.
    """

    __slots__ = ()

    counter: ClassVar[str | None] = None
    """Prometheus name without prefix (`metadata_requests_total`); None: no counter."""
    buffer: ClassVar[str | None] = None
    """Name of the Sandesh trace buffer, e.g. `Metadata`; None: not traced."""
    sandesh: ClassVar[str] = ""
    """Sandesh type shown in the trace line, e.g. `MetadataTrace`."""
    level: ClassVar[str | None] = None
    """twisted.logger level name (`info`, `warn`, `error`); None: not logged."""
    histogram: ClassVar[str | None] = None
    """Prometheus name of the histogram that `seconds` goes into; None: not timed."""
    seconds: float
    """How long it took. Only where `histogram` is set, as a field of the subclass."""

    def label(self) -> str:
        """The value of the counter's only label (`reason`), or "" for none.

        Comes from a closed set, so that the number of series is bounded.
        """
        return ""

    def text(self) -> str:
        """One line for the trace and the log."""
        return ""


Emit = Callable[[Event], None]
