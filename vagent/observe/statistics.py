"""Counters, gauges and latency histograms of one agent, without a global registry.

Counting is a dictionary increment; reading makes a frozen snapshot, which renderers
write. A counter has at most one label, nearly always `reason`, with a bounded number of
values, so that no guest can make it grow.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

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
    """How often a duration fell into which bucket. Seconds."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BUCKETS) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, seconds: float) -> None:
        """Record one duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._total += seconds

    def snapshot(self, name: str, about: str) -> HistogramSnapshot:
        """The state now, under the name given."""
        running = tuple(accumulate(self._counts))
        return HistogramSnapshot(
            name=name,
            about=about,
            buckets=tuple(zip(self._bounds, running, strict=False)),
            count=running[-1],
            total=self._total,
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
class HistogramSnapshot:
    """Cumulative counts per upper bound, and count and sum of all observations."""

    name: str
    about: str
    buckets: tuple[tuple[float, int], ...]
    count: int
    total: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All statistics at one moment, each kind sorted by name."""

    counters: tuple[CounterSnapshot, ...]
    gauges: tuple[GaugeSnapshot, ...]
    histograms: tuple[HistogramSnapshot, ...]

    def total(self, name: str) -> int:
        """A counter summed over its label, or how often a histogram observed; 0 if
        nothing was counted yet.
        """
        counted = sum(each.total for each in self.counters if each.name == name)
        return counted + sum(h.count for h in self.histograms if h.name == name)


class Statistics:
    """The counters, gauges and histograms of one agent."""

    def __init__(self) -> None:
        self._about: dict[str, str] = {}
        self._counters: dict[str, Counts] = {}
        self._labels: dict[str, str] = {}
        self._gauges: dict[str, Callable[[], float]] = {}
        self._histograms: dict[str, Histogram] = {}

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

    def histogram(self, name: str, about: str = "") -> Histogram:
        """The histogram of that name (seconds), made if need be; beyond MAX_NAMES one
        that all others share.
        """
        if name not in self._histograms and self._is_full():
            name, about = (
                OTHER_SECONDS,
                "Durations of histograms that there was no room for.",
            )
        self._describe(name, about)
        return self._histograms.setdefault(name, Histogram())

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
                histogram.snapshot(name, about[name])
                for name, histogram in sorted(self._histograms.items())
            ),
        )

    def _is_full(self) -> bool:
        held = len(self._counters) + len(self._gauges) + len(self._histograms)
        return held >= MAX_NAMES - 2

    def _describe(self, name: str, about: str) -> None:
        self._about[name] = self._about.get(name) or about


def _read(read: Callable[[], float]) -> float:
    try:
        return read()
    except Exception:  # one broken source must not hide all other numbers
        return math.nan
