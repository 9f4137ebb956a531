"""One emitted event becomes a counter, a latency, a trace entry and a log line.

What a class of events needs is worked out once and kept; after that `emit` is two
dictionary look-ups, an increment and an append, and formats nothing. Log lines of one
class are limited per second, because guests decide how often some events happen.
Refuses to know any event: rooms declare theirs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from vagent.observe.event import Event
from vagent.observe.oneline import one_line
from vagent.observe.statistics import Counts, Statistics
from vagent.observe.traces import TRACE_SIZE, TraceBuffers, text_of

LOG_LINES_PER_SECOND = 20
"""Per class of events. Enough to see what happens; a flood is what counters are for."""

MAX_PLACES = 4
"""Frames shown of a failure: enough to find it, short enough for one line."""

_LEVELS = ("debug", "info", "warn", "error", "critical")


@dataclass(slots=True)
class BackgroundFailed(Event):
    """Work that nobody waits for failed. `why` names it, from a closed set."""

    why: str
    what: str

    counter: ClassVar[str | None] = "background_failures_total"
    buffer: ClassVar[str | None] = "Agent"
    sandesh: ClassVar[str] = "AgentTrace"
    level: ClassVar[str | None] = "error"

    def label(self) -> str:
        """What the work was for."""
        return self.why

    def text(self) -> str:
        """The work and the failure."""
        return f"{self.why}: {self.what}"


@dataclass(slots=True)
class _Plan:
    """What happens to the events of one class."""

    counts: Counts | None
    label: Callable[[Any], str] | None
    append: Callable[[tuple[float, Event]], None] | None
    observe: Callable[[float], None] | None
    level: Any
    log_second: int = 0
    log_lines: int = 0


class Observer:
    """Takes the events of one agent. Holds its traces and statistics.

    `log_level` is one of debug, info, warn, error, critical (ValueError otherwise);
    events below it are not logged. `now` gives seconds since the epoch: traces
    show when something happened.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        log_level: str,
        trace_size: int = TRACE_SIZE,
        log: Logger | None = None,
    ) -> None:
        if log_level not in _LEVELS:
            raise ValueError(f"log level {log_level!r}, allowed: {', '.join(_LEVELS)}")
        self.traces = TraceBuffers(trace_size)
        self.statistics = Statistics()
        self._now = now
        self._level = LogLevel.levelWithName(log_level)
        self._log = Logger("vagent") if log is None else log
        self._plans: dict[type[Event], _Plan] = {}

    def __repr__(self) -> str:
        return f"<Observer {self._level.name} {self.traces!r}>"

    def expect(self, *kinds: type[Event]) -> None:
        """Show the counters and buffers of these classes before their first event."""
        for kind in kinds:
            self._plan(kind)

    def emit(self, event: Event) -> None:
        """Count, time, trace and log the event, as its class says."""
        kind = type(event)
        try:
            plan = self._plans[kind]
        except KeyError:
            plan = self._plan(kind)
        counts = plan.counts
        if counts is not None:
            label = plan.label
            reason = "" if label is None else label(event)
            try:
                counts[reason] += 1
            except KeyError:
                counts.add(reason)
        if plan.append is not None:
            plan.append((self._now(), event))
        if plan.observe is not None:
            plan.observe(event.seconds)
        if plan.level is not None:
            self._write(event, plan)

    def own(self, deferred: Deferred[Any], why: str) -> None:
        """Take a Deferred that nobody awaits: its failure becomes an event.

        A cancelled one is over without a word. `why` names the work, from a closed set.
        """
        deferred.addCallbacks(_forget, self._failed, errbackArgs=(why,))

    def _failed(self, failure: Failure, why: str) -> None:
        if not isinstance(failure.value, CancelledError):
            self.emit(BackgroundFailed(why, describe(failure.value)))

    def _plan(self, kind: type[Event]) -> _Plan:
        if kind in self._plans:
            return self._plans[kind]
        level = LogLevel.levelWithName(kind.level) if kind.level else None
        plan = _Plan(
            counts=self._counts(kind),
            label=None if kind.label is Event.label else kind.label,
            append=self.traces.ring(kind.buffer).append if kind.buffer else None,
            observe=self._histogram(kind),
            level=level if level is not None and level >= self._level else None,
        )
        self._plans[kind] = plan
        return plan

    def _histogram(self, kind: type[Event]) -> Callable[[float], None] | None:
        if kind.histogram is None:
            return None
        return self.statistics.histogram(kind.histogram, _about(kind)).observe

    def _counts(self, kind: type[Event]) -> Counts | None:
        if kind.counter is None:
            return None
        counts = self.statistics.counter(kind.counter, _about(kind))
        if kind.label is Event.label:
            counts.add("", 0)
        return counts

    def _write(self, event: Event, plan: _Plan) -> None:
        second = int(self._now())
        if second != plan.log_second:
            missed = plan.log_lines - LOG_LINES_PER_SECOND
            plan.log_second, plan.log_lines = second, 0
            if missed > 0:
                self._log.emit(
                    plan.level,
                    "{missed} more of {kind} were not logged",
                    missed=missed,
                    kind=type(event).__name__,
                )
        plan.log_lines += 1
        if plan.log_lines <= LOG_LINES_PER_SECOND:
            self._log.emit(plan.level, "{line}", line=one_line(text_of(event)))


def _about(kind: type[Event]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _forget(_result: object) -> None:
    """Ends a chain: an owned Deferred's result is nobody's business."""


def describe(error: BaseException | None) -> str:
    """Type, message and the innermost places of an exception, on one line."""
    places: deque[str] = deque(maxlen=MAX_PLACES)
    traceback = error.__traceback__ if error is not None else None
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename.rpartition("/")[2]
        places.appendleft(f"{name}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    where = f" at {' < '.join(places)}" if places else ""
    return one_line(f"{type(error).__name__}: {error}{where}")
