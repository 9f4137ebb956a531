"""Promises of introspect.pages.metadata."""

from __future__ import annotations

from typing import Any

from introspect.page import Bars, FactTable
from introspect.pages.metadata import clear_all_info, latency_bars, metadata_info
from introspect.sandesh import STYLESHEET, document
from vagent.observe.statistics import Histogram


def numbers(sources: Any) -> tuple[int, ...]:
    part = metadata_info(sources, {}).parts[0]
    return (
        part.metadata_requests,
        part.metadata_responses,
        part.metadata_proxy_sessions,
        part.metadata_internal_errors,
    )


def timed(world: Any, outcome: str) -> Any:
    return world.statistics.histogram(
        "metadata_request_seconds", label="outcome", value=outcome
    )


def test_metadata_info_is_contrails(world: Any) -> None:
    """The XML is Contrail's, byte for byte."""
    world.count("metadata_requests_total", amount=12)
    world.count("metadata_responses_total", amount=100)  # errors of our own too
    timed(world, "failed").observe(0.01)
    for _ in range(96):
        timed(world, "answered").observe(0.01)
    world.count("metadata_proxy_sessions_total", amount=11)
    world.count("metadata_internal_errors_total", "no service")
    expected = (
        '<MetadataResponse type="sandesh">'
        '<metadata_server_port type="i32" identifier="1">8097</metadata_server_port>'
        '<metadata_requests type="i32" identifier="2">12</metadata_requests>'
        '<metadata_responses type="i32" identifier="3">96</metadata_responses>'
        '<metadata_proxy_sessions type="i32" identifier="4">11'
        "</metadata_proxy_sessions>"
        '<metadata_internal_errors type="i32" identifier="5">1'
        "</metadata_internal_errors>"
        '<more type="bool" identifier="0">false</more></MetadataResponse>'
    )
    page = metadata_info(world.sources(), {})
    assert document(page.parts) == (STYLESHEET + expected).encode()


def test_errors_are_summed_over_reasons(world: Any) -> None:
    """Internal errors of all reasons are one number, and people see each reason."""
    world.count("metadata_internal_errors_total", "no service", 2)
    world.count("metadata_internal_errors_total", "", 3)
    assert numbers(world.sources()) == (0, 0, 0, 5)
    blocks = metadata_info(world.sources(), {}).shown()
    bars = next(block for block in blocks if isinstance(block, Bars))
    assert bars.rows == (("no reason given", 3), ("no service", 2))


def test_nothing_counted_is_zero_without_charts(world: Any) -> None:
    """A fresh agent shows zeros and only the facts."""
    assert numbers(world.sources()) == (0, 0, 0, 0)
    (facts,) = metadata_info(world.sources(), {}).shown()
    assert isinstance(facts, FactTable)


def test_clearing_starts_at_zero_and_keeps_the_counters(world: Any) -> None:
    """ClearAllInfo answers as Contrail, resets the page and leaves /metrics alone."""
    sources = world.sources()
    world.count("metadata_requests_total", amount=7)
    page = clear_all_info(sources, {})
    expected = (
        '<PktErrorResp type="sandesh"><resp type="string" identifier="1">'
        "   Success !!!   </resp>"
        '<more type="bool" identifier="0">false</more></PktErrorResp>'
    )
    assert document(page.parts) == (STYLESHEET + expected).encode()
    assert numbers(sources) == (0, 0, 0, 0)
    world.count("metadata_requests_total", amount=2)
    assert numbers(sources) == (2, 0, 0, 0)
    assert sources.statistics.snapshot().total("metadata_requests_total") == 9
    assert numbers(world.sources()) == (9, 0, 0, 0)


def test_latency_is_shown_once_there_is_some(world: Any) -> None:
    """The histogram appears with its first observation."""
    answered, failed = timed(world, "answered"), timed(world, "failed")
    assert len(metadata_info(world.sources(), {}).shown()) == 1
    answered.observe(0.002)
    failed.observe(8.0)
    bars = metadata_info(world.sources(), {}).shown()[1]
    assert isinstance(bars, Bars)
    assert bars.note == "2 observed, 4 s on average."


def test_latency_bars_are_per_bucket() -> None:
    """Buckets are not cumulated, and the empty end is left out."""
    histogram = Histogram((0.0005, 0.5, 2.5, 30.0))
    for seconds in (0.0001, 0.2, 0.3, 0.4):
        histogram.observe(seconds)
    bars = latency_bars(histogram.snapshot("x", ""), "Wait")
    assert bars.rows == (("up to 500 µs", 1), ("up to 500 ms", 3))
    histogram.observe(99)
    bars = latency_bars(histogram.snapshot("x", ""), "Wait")
    assert bars.rows[-2:] == (("up to 30 s", 0), ("longer", 1))


def test_latency_of_nothing() -> None:
    """An unused histogram has neither bars nor a mean."""
    bars = latency_bars(Histogram().snapshot("x", ""), "Wait")
    assert (bars.rows, bars.note) == ((), "0 observed, – on average.")
