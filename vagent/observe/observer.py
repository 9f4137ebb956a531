"""One emitted event becomes a counter, a latency, a trace entry and a log line.

What a class of events needs is worked out at its first event and kept as a function of
its own; after that `emit` is two dictionary look-ups, an increment and an append, and
formats nothing. Log lines of one class are limited per second, because guests decide
how often some events happen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from vagent.observe.event import Event, Metric
from vagent.observe.oneline import one_line
from vagent.observe.statistics import AT_A_TIME, Counts, Histogram, Statistics
from vagent.observe.traces import TRACE_SIZE, TraceBuffers, text_of

LOG_LINES_PER_SECOND = 20
"""For each class of events: enough to see what happens. Counters show the rest."""

MAX_PLACES = 4
"""Frames shown of a failure: enough to find it, short enough for one line."""

_LEVELS = ("debug", "info", "warn", "error", "critical")


@dataclass(slots=True)
class BackgroundFailed(Event):
    """Work in the background failed. `work` names it, from a closed set."""

    work: str
    error: str

    counter = Metric(
        "background_failures_total",
        "Work in the background that failed, by what it was for.",
    )
    buffer = "Agent"
    sandesh = "AgentTrace"
    level = "error"

    def label(self) -> str:
        """The purpose of the work that failed."""
        return self.work

    def text(self) -> str:
        """The work and the failure."""
        return f"{self.work}: {self.error}"


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
        self._takers: dict[type[Event], Callable[[Any], None]] = {}
        self._heeded: dict[type[Event], Callable[[Any], None]] = {}

    def __repr__(self) -> str:
        return f"<Observer {self._level.name} {self.traces!r}>"

    def expect(self, *kinds: type[Event]) -> None:
        """Show the counters and buffers of these classes before their first event."""
        for kind in kinds:
            if kind not in self._takers:
                self._takers[kind] = self._taker(kind)

    def emit(self, event: Event) -> None:
        """Count, time, trace and log the event, as its class says."""
        kind = type(event)
        try:
            take = self._takers[kind]
        except KeyError:
            take = self._takers[kind] = self._taker(kind)
        take(event)

    def heed(self, kind: type[Event], told: Callable[[Event], None]) -> None:
        """Tell of each event of this class until `ignore`, after it was counted. One
        listener for a class; other classes cost no more for it.
        """
        self.expect(kind)
        take = self._heeded.setdefault(kind, self._takers[kind])

        def both(event: Event) -> None:
            take(event)
            told(event)

        self._takers[kind] = both

    def ignore(self, kind: type[Event]) -> None:
        """Tell no more of events of this class."""
        if kind in self._heeded:
            self._takers[kind] = self._heeded.pop(kind)

    def own(self, deferred: Deferred[Any], why: str) -> None:
        """Take a Deferred that nobody awaits: its failure becomes an event.

        One that was cancelled is not reported. `why` names the work, from a closed set.
        """
        deferred.addCallbacks(_forget, self._failed, errbackArgs=(why,))

    def _failed(self, failure: Failure, why: str) -> None:
        if not isinstance(failure.value, CancelledError):
            self.emit(BackgroundFailed(why, describe(failure.value)))

    def _taker(self, kind: type[Event]) -> Callable[[Any], None]:
        """What happens to each event of this class. Its variables are those of a
        function because it runs for every trapped packet and every request.
        """
        statistics, now = self.statistics, self._now
        counter, histogram, level = kind.counter, kind.histogram, self._level_of(kind)
        label = None if kind.label is Event.label else kind.label
        counts = None if counter is None else _counts(statistics, counter)
        append = self.traces.ring(kind.buffer).append if kind.buffer else None
        timed = None if histogram is None else _timed(statistics, histogram, kind)
        durations: list[Event] = [] if timed is None else timed.pending_events
        write = None if level is None else _Lines(self._log, level, now).write
        if counts is not None and label is None:
            counts.add("", 0)

        def take(event: Any) -> None:
            if counts is not None:
                reason = "" if label is None else label(event)
                try:
                    counts[reason] += 1
                except KeyError:
                    counts.add(reason)
            if append is not None:
                append((now(), event))
            if timed is not None:
                durations.append(event)
                if len(durations) >= AT_A_TIME:
                    timed.fold()
            if write is not None:
                write(event)

        return take

    def _level_of(self, kind: type[Event]) -> Any:
        """The level that events of this class are logged at, None for not at all."""
        level = LogLevel.levelWithName(kind.level) if kind.level else None
        return level if level is not None and level >= self._level else None


class _Lines:
    """Writes the log lines of one class of events, so many in a second."""

    def __init__(self, log: Logger, level: Any, now: Callable[[], float]) -> None:
        self._log = log
        self._level = level
        self._now = now
        self._second = 0
        self._written = 0

    def write(self, event: Event) -> None:
        """One line, or one less in this second."""
        second = int(self._now())
        if second != self._second:
            missed = self._written - LOG_LINES_PER_SECOND
            self._second, self._written = second, 0
            if missed > 0:
                self._log.emit(
                    self._level,
                    "{missed} more of {kind} were not logged",
                    missed=missed,
                    kind=type(event).__name__,
                )
        self._written += 1
        if self._written <= LOG_LINES_PER_SECOND:
            line = one_line(text_of(event))
            self._log.emit(self._level, "{line}", line=line, told=event)


def _counts(statistics: Statistics, metric: Metric) -> Counts:
    return statistics.counter(metric.name, metric.help, label=metric.label)


def _timed(statistics: Statistics, metric: Metric, kind: type[Event]) -> Histogram:
    label = metric.label if kind.timed_as else ""
    return statistics.histogram(
        metric.name, metric.help, label=label, value=kind.timed_as
    )


def _forget(_result: object) -> None:
    """Drop the result of work that nobody waits for."""


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
