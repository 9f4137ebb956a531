"""Counters, gauges and latency histograms of one agent, without a global registry.

Counting is a dictionary increment; reading makes a frozen snapshot, which renderers
write. A counter or histogram has at most one label, nearly always `reason`, with a
bounded number of values, so that no guest can make it grow.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from operator import add, attrgetter, itemgetter

from vagent.observe.event import Event, Metric

MAX_NAMES = 512
"""Counters, gauges and histograms together; all are named in code, so more is a bug."""
MAX_LABELS = 64
"""Values of the label for each counter. They come from closed sets."""
OTHER = "other"
"""Counter, or label of a counter, for what exceeds one of these two limits."""
OTHER_SECONDS = "other_seconds"
"""Histogram for the durations of histograms beyond MAX_NAMES."""
LATENCY_BUCKETS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds in seconds: from a cache hit to the upstream's response timeout."""
AT_A_TIME = 256
"""Durations that are counted together, which takes some 20 µs."""
_SECONDS = attrgetter("seconds")


class Counts(dict[str, int]):
    """Counts by the value of the label ("" for none)."""

    __slots__ = ()

    def add(self, reason: str = "", amount: int = 1) -> None:
        """Count. A reason beyond MAX_LABELS becomes `other`."""
        try:
            self[reason] += amount
        except KeyError:
            if len(self) >= MAX_LABELS - 1:
                reason = OTHER
            self[reason] = self.get(reason, 0) + amount


class Histogram:
    """How often a duration fell into which bucket. Seconds.

    Durations wait in lists until there are AT_A_TIME of them, or somebody reads: to
    sort some is a third of the work of finding the bucket of each. Where each request
    counts, `pending` or `pending_events` (events with `seconds`) are appended to, and
    `fold` is called when that list has AT_A_TIME. One event of each bucket is kept as
    its exemplar.
    """

    __slots__ = ("_bounds", "_counts", "_events", "_total", "pending", "pending_events")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BUCKETS) -> None:
        self.pending: list[float] = []
        self.pending_events: list[Event] = []
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._events: list[Event | None] = [None] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, seconds: float) -> None:
        """Record one duration."""
        self.pending.append(seconds)
        if len(self.pending) >= AT_A_TIME:
            self.fold()

    def fold(self) -> None:
        """Count the durations that wait."""
        events = sorted(self.pending_events, key=_SECONDS)
        self._count(list(map(_SECONDS, events)), events)
        self._count(sorted(self.pending), ())
        self.pending_events.clear()
        self.pending.clear()

    def _count(self, durations: list[float], events: Sequence[Event]) -> None:
        """Count what is sorted already."""
        below = 0
        for bucket, bound in enumerate((*self._bounds, math.inf)):
            if below == len(durations):
                break
            upto = bisect_right(durations, bound, below)
            if upto > below:
                self._counts[bucket] += upto - below
                if events:
                    self._events[bucket] = events[upto - 1]
                below = upto
        self._total += sum(durations)

    def snapshot(
        self, name: str, about: str, label: str = "", value: str = ""
    ) -> HistogramSnapshot:
        """The state now, under the name given, as the series whose label has this value
        ("" for none).
        """
        self.fold()
        running = tuple(accumulate(self._counts))
        return HistogramSnapshot(
            name=name,
            about=about,
            buckets=tuple(zip(self._bounds, running, strict=False)),
            count=running[-1],
            total=self._total,
            label=label,
            value=value,
            exemplars=tuple(map(_exemplar, self._events)),
        )


@dataclass(frozen=True, slots=True)
class CounterSnapshot:
    """A counter's values by its label, sorted; that is "" where there is none. `label`
    is the label's name.
    """

    name: str
    about: str
    values: tuple[tuple[str, int], ...]
    label: str = "reason"

    @property
    def total(self) -> int:
        """Sum over all reasons."""
        return sum(value for _, value in self.values)


@dataclass(frozen=True, slots=True)
class GaugeSnapshot:
    """A gauge as read; NaN when its source failed."""

    name: str
    about: str
    value: float


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One of the requests in a bucket: its number as people and tools see it."""

    request: str
    seconds: float


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """Cumulative counts per upper bound, and count and sum of all observations. `value`
    is that of the label, both "" where there is none. `exemplars` has one for each
    bucket, that of what is above the last bound included, and None where no request
    is known.
    """

    name: str
    about: str
    buckets: tuple[tuple[float, int], ...]
    count: int
    total: float
    label: str = ""
    value: str = ""
    exemplars: tuple[Exemplar | None, ...] = ()

    def __add__(self, other: HistogramSnapshot) -> HistogramSnapshot:
        """Both together, as one histogram without a label."""
        pairs = zip(self.buckets, other.buckets, strict=True)
        return HistogramSnapshot(
            self.name,
            self.about,
            tuple((bound, a + b) for (bound, a), (_, b) in pairs),
            self.count + other.count,
            self.total + other.total,
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All statistics at one moment, each kind sorted by name."""

    counters: tuple[CounterSnapshot, ...]
    gauges: tuple[GaugeSnapshot, ...]
    histograms: tuple[HistogramSnapshot, ...]

    def total(self, name: str) -> int:
        """A counter summed over its label; 0 if nothing was counted yet."""
        return sum(each.total for each in self.counters if each.name == name)

    def observed(self, name: str, value: str) -> int:
        """How often a histogram has observed with this value of its label."""
        series = ((one.name, one.value, one.count) for one in self.histograms)
        return sum(count for *its, count in series if its == [name, value])

    def histogram(self, name: str) -> HistogramSnapshot | None:
        """A histogram summed over its label; None if nothing was observed yet."""
        found = [one for one in self.histograms if one.name == name and one.count]
        return reduce(add, found) if found else None


class Statistics:
    """The counters, gauges and histograms of one agent."""

    def __init__(self) -> None:
        self._about: dict[str, str] = {}
        self._counters: dict[str, Counts] = {}
        self._labels: dict[str, str] = {}
        self._gauges: dict[str, Callable[[], float]] = {}
        self._histograms: dict[tuple[str, str], Histogram] = {}

    def counter(self, name: str, about: str = "", *, label: str = "reason") -> Counts:
        """The counter of that name, made if need be. Its `add` counts. `label` is what
        its label is called.
        """
        if name not in self._counters and self._is_full():
            name, about = OTHER, "Sum of all counters that there was no room for."
            label = "reason"
        self._describe(name, about)
        self._labels.setdefault(name, label)
        return self._counters.setdefault(name, Counts())

    def gauge(self, name: str, read: Callable[[], float], about: str = "") -> None:
        """A gauge whose value is read whenever somebody looks. Raises ValueError beyond
        MAX_NAMES.
        """
        if name not in self._gauges and self._is_full():
            raise ValueError(f"gauge {name}: more than {MAX_NAMES} statistics")
        self._describe(name, about)
        self._gauges[name] = read

    def histogram(
        self, name: str, about: str = "", *, label: str = "", value: str = ""
    ) -> Histogram:
        """The histogram of that name (seconds), made if need be; where it has a label,
        the series with this value. Beyond MAX_NAMES it is one that all others share.
        """
        if (name, value) not in self._histograms and self._is_full():
            name, about = (
                OTHER_SECONDS,
                "Durations of histograms that there was no room for.",
            )
            label = value = ""
        self._describe(name, about)
        if value:
            self._labels.setdefault(name, label)
        return self._histograms.setdefault((name, value), Histogram())

    def show(self, metric: Metric, outcomes: Mapping[str, Histogram]) -> None:
        """Histograms of a room's own, by the value of their label, where an event for
        each duration would cost too much.
        """
        for value, histogram in outcomes.items():
            self._describe(metric.name, metric.help)
            self._labels.setdefault(metric.name, metric.label)
            self._histograms[metric.name, value] = histogram

    def snapshot(self) -> Snapshot:
        """Everything as it is now. Never raises: a gauge that fails reads NaN."""
        about = self._about
        return Snapshot(
            counters=tuple(
                CounterSnapshot(
                    name,
                    about[name],
                    tuple(sorted(counts.items())),
                    self._labels[name],
                )
                for name, counts in sorted(self._counters.items())
            ),
            gauges=tuple(
                GaugeSnapshot(name, about[name], _read(read))
                for name, read in sorted(self._gauges.items())
            ),
            histograms=tuple(
                histogram.snapshot(
                    name, about[name], self._labels[name] if value else "", value
                )
                for (name, value), histogram in sorted(
                    self._histograms.items(), key=itemgetter(0)
                )
            ),
        )

    def _is_full(self) -> bool:
        held = len(self._counters) + len(self._gauges) + len(self._histograms)
        return held >= MAX_NAMES - 2

    def _describe(self, name: str, about: str) -> None:
        self._about[name] = self._about.get(name) or about


def _exemplar(event: Event | None) -> Exemplar | None:
    """The event's request, where it is about one."""
    if event is None or not hasattr(event, "request"):
        return None
    return Exemplar(str(event.facts()["request"]), event.seconds)


def _read(read: Callable[[], float]) -> float:
    try:
        return read()
    except Exception:  # one broken source must not hide all other numbers
        return math.nan
