"""Promises of vagent.observe.statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.observe.event import Event, Metric
from vagent.observe.statistics import (
    AT_A_TIME,
    LATENCY_BUCKETS,
    MAX_LABELS,
    MAX_NAMES,
    OTHER,
    OTHER_SECONDS,
    Exemplar,
    Histogram,
    Statistics,
)


def test_counters_count_by_reason() -> None:
    """A counter keeps its reasons apart and sums them."""
    statistics = Statistics()
    counter = statistics.counter("refused_total", "Refusals.")
    counter.add("late")
    counter.add("early", 2)
    counter.add("late")
    snapshot = statistics.snapshot()
    (shown,) = snapshot.counters
    assert shown.values == (("early", 2), ("late", 2))
    assert snapshot.total("refused_total") == 4
    assert shown.about == "Refusals."


def test_a_counter_names_its_label_once() -> None:
    """`reason` where nothing else is said; the first name stays."""
    statistics = Statistics()
    statistics.counter("a_total").add("x")
    statistics.counter("b_total", label="status").add("200")
    statistics.counter("b_total").add("404")
    labels = [one.label for one in statistics.snapshot().counters]
    assert ["reason", "status"] == labels


def test_a_histogram_has_a_series_for_each_value_of_its_label() -> None:
    """Each is counted apart; together they are one histogram."""
    statistics = Statistics()
    for value, seconds in (("good", 0.1), ("good", 0.2), ("bad", 8.0)):
        statistics.histogram(
            "wait_seconds", "Wait.", label="outcome", value=value
        ).observe(seconds)
    snapshot = statistics.snapshot()
    assert [("outcome", "bad", 1), ("outcome", "good", 2)] == [
        (one.label, one.value, one.count) for one in snapshot.histograms
    ]
    assert [2, 1, 0] == [
        snapshot.observed("wait_seconds", value) for value in ("good", "bad", "ugly")
    ]
    both = snapshot.histogram("wait_seconds")
    assert both is not None
    assert (3, "", "") == (both.count, both.label, both.value)
    assert 8.3 == pytest.approx(both.total)
    assert (10.0, 3) in both.buckets
    assert (0.1, 1) in both.buckets
    assert snapshot.histogram("other_seconds") is None


def test_a_room_may_show_histograms_of_its_own() -> None:
    """They are read when somebody asks."""
    statistics, own = Statistics(), Histogram()
    statistics.show(Metric("wait_seconds", "Wait.", label="how"), {"long": own})
    own.observe(3.0)
    (shown,) = statistics.snapshot().histograms
    assert ("wait_seconds", "Wait.", "how", "long", 1) == (
        shown.name,
        shown.about,
        shown.label,
        shown.value,
        shown.count,
    )


@dataclass(slots=True)
class Timed(Event):
    """What a histogram keeps one of for each bucket."""

    request: int
    seconds: float


@dataclass(slots=True)
class Nameless(Event):
    """About no request."""

    seconds: float


def test_each_bucket_keeps_a_request() -> None:
    """As an example; of events about no request, and of buckets without, there is
    none.
    """
    histogram = Histogram((0.1, 1.0, 10.0))
    histogram.pending_events += [Timed(1, 0.5), Nameless(0.05), Timed(2, 99.0)]
    shown = histogram.snapshot("h", "")
    assert (None, Exemplar("1", 0.5), None, Exemplar("2", 99.0)) == shown.exemplars
    histogram.pending_events.append(Timed(3, 1.0))
    assert Exemplar("3", 1.0) == histogram.snapshot("h", "").exemplars[1]


@given(st.lists(st.floats(0.0, 40.0)), st.lists(st.floats(0.0, 40.0)))
def test_what_waits_is_counted_as_one_by_one(
    alone: list[float], of_events: list[float]
) -> None:
    """Whenever it is folded, each duration is in the first bucket that holds it."""
    histogram = Histogram()
    for number, seconds in enumerate(alone):
        histogram.observe(seconds)
        if number % 3:
            histogram.fold()
    histogram.pending_events += [Nameless(seconds) for seconds in of_events]
    shown = histogram.snapshot("h", "")
    every = alone + of_events
    expected = [sum(one <= bound for one in every) for bound in LATENCY_BUCKETS]
    assert expected == [count for _, count in shown.buckets]
    assert len(every) == shown.count
    assert sum(every) == pytest.approx(shown.total)
    assert not histogram.pending
    assert not histogram.pending_events


def test_few_durations_wait() -> None:
    """However many come, and though nobody reads."""
    histogram = Histogram()
    for _ in range(AT_A_TIME - 1):
        histogram.observe(0.1)
    assert AT_A_TIME - 1 == len(histogram.pending)
    histogram.observe(0.1)
    assert [] == histogram.pending


def test_an_unknown_total_is_zero() -> None:
    """What nobody counted yet is 0."""
    assert Statistics().snapshot().total("nothing_total") == 0


@pytest.mark.parametrize(
    ("reasons", "other"),
    [(MAX_LABELS - 1, 0), (MAX_LABELS, 1), (MAX_LABELS + 1, 2)],
)
def test_reasons_have_a_ceiling(reasons: int, other: int) -> None:
    """No more than MAX_LABELS series per counter; the rest is `other`, none is lost."""
    counter = Statistics().counter("x_total")
    for number in range(reasons):
        counter.add(f"r{number}")
    assert len(counter) == min(reasons, MAX_LABELS)
    assert counter.get(OTHER, 0) == other
    assert sum(counter.values()) == reasons


def test_names_have_a_ceiling() -> None:
    """Counters beyond MAX_NAMES share one, histograms another; gauges are refused."""
    statistics = Statistics()
    for number in range(MAX_NAMES + 5):
        statistics.counter(f"c{number}_total").add()
    for number in range(3):
        statistics.histogram(f"h{number}_seconds").observe(1.0)
    snapshot = statistics.snapshot()
    assert len(snapshot.counters) + len(snapshot.histograms) == MAX_NAMES
    assert snapshot.total(OTHER) == 7
    assert [(each.name, each.count) for each in snapshot.histograms] == [
        (OTHER_SECONDS, 3)
    ]
    with pytest.raises(ValueError, match="more than 512"):
        statistics.gauge("g", lambda: 1.0)


def test_a_counter_is_one_by_name() -> None:
    """Two who count under one name share the counter; the first description stays."""
    statistics = Statistics()
    statistics.counter("x_total").add()
    statistics.counter("x_total", "First.").add()
    statistics.counter("x_total", "Second.").add()
    (shown,) = statistics.snapshot().counters
    assert (shown.total, shown.about) == (3, "First.")


def test_gauges_are_read_when_asked() -> None:
    """A gauge has the value of the moment; one that fails is NaN and hides nothing."""
    values = [1.0]
    statistics = Statistics()
    statistics.gauge("a", lambda: values[0], "A.")
    statistics.gauge("b", lambda: 1 / 0)
    values[0] = 7.0
    first, second = statistics.snapshot().gauges
    assert (first.value, first.about) == (7.0, "A.")
    assert math.isnan(second.value)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.0005, 0), (0.00051, 1), (30.0, 14), (30.1, None)],
)
def test_histogram_bounds_are_inclusive(seconds: float, bucket: int | None) -> None:
    """A value equal to a bound is in its bucket; above the last is only counted."""
    histogram = Histogram()
    histogram.observe(seconds)
    shown = histogram.snapshot("h", "")
    expected = [0 if bucket is None or n < bucket else 1 for n in range(15)]
    assert expected == [count for _, count in shown.buckets]
    assert (1, seconds) == (shown.count, shown.total)


def test_histogram_is_cumulative() -> None:
    """Buckets count everything below their bound, as Prometheus wants it."""
    statistics = Statistics()
    histogram = statistics.histogram("wait_seconds", "Waiting.")
    for seconds in (0.0001, 0.002, 0.002, 99):
        histogram.observe(seconds)
    assert statistics.histogram("wait_seconds") is histogram
    (shown,) = statistics.snapshot().histograms
    assert tuple(bound for bound, _ in shown.buckets) == LATENCY_BUCKETS
    assert [count for _, count in shown.buckets[:3]] == [1, 1, 3]
    assert (shown.count, shown.about) == (4, "Waiting.")


def test_two_agents_share_nothing() -> None:
    """Two Statistics in one process are apart."""
    first, second = Statistics(), Statistics()
    first.counter("x_total").add()
    assert second.snapshot().counters == ()
