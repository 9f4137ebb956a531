"""Promises of introspect.prometheus."""

from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from introspect.prometheus import exposition
from vagent.observe.statistics import (
    HistogramSnapshot,
    Snapshot,
    Statistics,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()))
LINE = re.compile(
    r'(# (HELP|TYPE) vagent_\w* .*|vagent_\w*(\{\w+="([^"\\\n]|\\.)*"\})? \S+)'
)


def text(statistics: Statistics, version: str = "1.2.3") -> str:
    return exposition(statistics.snapshot(), version=version).decode()


def test_the_whole_page() -> None:
    """Counters with and without reason, a gauge and a histogram, line by line."""
    statistics = Statistics()
    statistics.counter("requests_total", "Requests.").add("", 3)
    refused = statistics.counter("refused_total", "Refusals.")
    refused.add("late", 2)
    refused.add("early")
    statistics.gauge("flows", lambda: 41, "Flows.")
    wait = statistics.histogram("wait_seconds", "Waiting.")
    wait.observe(0.25)
    lines = text(statistics).splitlines()
    assert lines[:12] == [
        "# HELP vagent_build_info Version of the agent.",
        "# TYPE vagent_build_info gauge",
        'vagent_build_info{version="1.2.3"} 1',
        "# HELP vagent_refused_total Refusals.",
        "# TYPE vagent_refused_total counter",
        'vagent_refused_total{reason="early"} 1',
        'vagent_refused_total{reason="late"} 2',
        "# HELP vagent_requests_total Requests.",
        "# TYPE vagent_requests_total counter",
        "vagent_requests_total 3",
        "# HELP vagent_flows Flows.",
        "# TYPE vagent_flows gauge",
    ]
    assert lines[12] == "vagent_flows 41"
    assert 'vagent_wait_seconds_bucket{le="0.1"} 0' in lines
    assert lines[-4:] == [
        'vagent_wait_seconds_bucket{le="30.0"} 1',
        'vagent_wait_seconds_bucket{le="+Inf"} 1',
        "vagent_wait_seconds_sum 0.25",
        "vagent_wait_seconds_count 1",
    ]
    assert text(statistics).endswith("\n")


def test_series_of_one_histogram_have_one_head() -> None:
    """And each its label."""

    def waited(outcome: str) -> HistogramSnapshot:
        return HistogramSnapshot(
            "wait_seconds", "Waiting.", ((0.1, 0),), 1, 0.25, "outcome", outcome
        )

    snapshot = Snapshot((), (), (waited("sent"), waited("failed")))
    lines = exposition(snapshot, version="1").decode().splitlines()
    assert lines[3:] == [
        "# HELP vagent_wait_seconds Waiting.",
        "# TYPE vagent_wait_seconds histogram",
        *(
            line
            for outcome in ("sent", "failed")
            for line in (
                f'vagent_wait_seconds_bucket{{outcome="{outcome}",le="0.1"}} 0',
                f'vagent_wait_seconds_bucket{{outcome="{outcome}",le="+Inf"}} 1',
                f'vagent_wait_seconds_sum{{outcome="{outcome}"}} 0.25',
                f'vagent_wait_seconds_count{{outcome="{outcome}"}} 1',
            )
        ),
    ]


def test_gauges_may_be_no_number() -> None:
    """NaN and infinities are written as Prometheus spells them."""
    statistics = Statistics()
    statistics.gauge("a", lambda: math.inf)
    statistics.gauge("b", lambda: -math.inf)
    statistics.gauge("c", lambda: 1 / 0)
    lines = text(statistics).splitlines()
    assert {"vagent_a +Inf", "vagent_b -Inf", "vagent_c NaN"} < set(lines)


def test_labels_are_escaped() -> None:
    """Backslash, quote and line end cannot leave a label."""
    statistics = Statistics()
    statistics.counter("x_total").add('a\\b"c\nd')
    assert 'vagent_x_total{reason="a\\\\b\\"c\\nd"} 1' in text(statistics)


def test_a_label_may_have_another_name() -> None:
    """Responses are counted by status."""
    statistics = Statistics()
    statistics.counter("responses_total", label="status").add("404", 2)
    assert 'vagent_responses_total{status="404"} 2' in text(statistics)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_no_text_breaks_a_line(name: str, reason: str, about: str) -> None:
    """Whatever is counted, every line has the form that Prometheus expects."""
    statistics = Statistics()
    statistics.counter(name, about).add(reason)
    lines = text(statistics, version=reason).split("\n")
    assert not [line for line in lines[:-1] if not LINE.fullmatch(line)]


def test_prometheus_reads_what_was_counted() -> None:
    """Its own parser: names, types, help, labels, values, and the buckets' bounds."""
    statistics = Statistics()
    statistics.counter("requests_total", "Requests.").add("", 3)
    refused = statistics.counter("refused_total", "Refusals; by reason, \\ and all.")
    refused.add('a "late" one\n', 2)
    statistics.gauge("flows", lambda: 41.5, "Flows.")
    statistics.histogram("wait_seconds", "Waiting.").observe(0.25)
    read = {
        each.name: each for each in text_string_to_metric_families(text(statistics))
    }
    assert {
        "vagent_build_info": ("gauge", "Version of the agent."),
        "vagent_requests": ("counter", "Requests."),
        "vagent_refused": ("counter", "Refusals; by reason, \\ and all."),
        "vagent_flows": ("gauge", "Flows."),
        "vagent_wait_seconds": ("histogram", "Waiting."),
    } == {name: (each.type, each.documentation) for name, each in read.items()}
    samples = {
        (each.name, *each.labels.values()): each.value
        for family in read.values()
        for each in family.samples
    }
    assert {
        ("vagent_build_info", "1.2.3"): 1,
        ("vagent_requests_total",): 3,
        ("vagent_refused_total", 'a "late" one\n'): 2,
        ("vagent_flows",): 41.5,
        ("vagent_wait_seconds_sum",): 0.25,
        ("vagent_wait_seconds_count",): 1,
    } == {key: value for key, value in samples.items() if "bucket" not in key[0]}
    below = [value for key, value in samples.items() if "bucket" in key[0]]
    assert below == sorted(below)
    assert {0, 1} == set(below)
    assert 1 == samples["vagent_wait_seconds_bucket", "+Inf"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_prometheus_reads_any_label_as_it_was(reason: str) -> None:
    """Only what no UTF-8 can spell is lost."""
    statistics = Statistics()
    statistics.counter("x_total").add(reason)
    (_info, counted) = text_string_to_metric_families(text(statistics))
    labels = {"reason": reason} if reason else {}
    assert [("vagent_x_total", labels, 1.0)] == [
        (each.name, each.labels, each.value) for each in counted.samples
    ]
