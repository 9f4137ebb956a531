"""Promises of introspect.prometheus."""

from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from introspect.prometheus import exposition
from vagent.observe.statistics import Statistics

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


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_no_text_breaks_a_line(name: str, reason: str, about: str) -> None:
    """Whatever is counted, every line has the form that Prometheus expects."""
    statistics = Statistics()
    statistics.counter(name, about).add(reason)
    lines = text(statistics, version=reason).split("\n")
    assert not [line for line in lines[:-1] if not LINE.fullmatch(line)]
