"""What wrk reports, and who is pinned where."""

from __future__ import annotations

import argparse
import json

import pytest

from bench.__main__ import _parts, _positive
from bench.clients.load import MARK, parse
from bench.scene.stage import Cpus
from lab.namespaces import LabError

TOLD = {
    "requests": 1000,
    "duration_us": 2_000_000,
    "p50_us": 370,
    "p99_us": 1500,
    "status": 10,
    "connect": 1,
    "read": 2,
    "write": 3,
    "timeout": 4,
}


def test_only_good_answers_are_good() -> None:
    """wrk counts a 503 as a request; we do not."""
    report = parse(f"Running 2s test\n{MARK}{json.dumps(TOLD)}\n")
    assert 990 == report.good
    assert 20 == report.errors
    assert 2.0 == report.seconds
    assert (0.37, 1.5) == (report.p50, report.p99)


def test_a_wrk_without_report_is_a_failure() -> None:
    """Its words are passed on, not turned into zeros."""
    with pytest.raises(LabError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1")


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ([0], Cpus(load=0, upstream=0, contestant=0)),
        ([1, 0], Cpus(load=0, upstream=0, contestant=1)),
        ([2, 4, 6], Cpus(load=2, upstream=4, contestant=6)),
        ([0, 1, 2, 3], Cpus(load=0, upstream=1, contestant=3)),
    ],
)
def test_contestants_have_a_cpu_of_their_own(
    allowed: list[int], expected: Cpus
) -> None:
    """As soon as there are two; the upstream too, as soon as there are three."""
    assert expected == Cpus.of(allowed)


def test_parts_run_in_their_order_once() -> None:
    """Whatever the order and case in which they were asked for."""
    assert ["A", "B"] == _parts("b, a,B")


@pytest.mark.parametrize("text", ["", "Z", "A,,B", "A B"])
def test_an_unknown_part_is_refused(text: str) -> None:
    """With what is allowed."""
    with pytest.raises(argparse.ArgumentTypeError, match="allowed: A, A3, A2, B"):
        _parts(text)


@pytest.mark.parametrize("text", ["0", "-1"])
def test_fewer_than_one_is_refused(text: str) -> None:
    """No rounds, no figures."""
    with pytest.raises(argparse.ArgumentTypeError, match="1 or more"):
        _positive(text)
    assert 1 == _positive("1")
