"""A skip is green only if the list of the machine expects it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.skips.plugin import HERE, Expected, read, refuse_unexpected

LISTS = sorted(HERE.glob("*.txt"))
VLAN = Expected("tests/x.py::test_tags", "no VLAN", "make test-stock-kernel")


def skipped(test: str, reason: str) -> pytest.TestReport:
    """What pytest reports of a test that was skipped."""
    return pytest.TestReport(
        nodeid=test,
        location=("x.py", 1, "test"),
        keywords={},
        outcome="skipped",
        longrepr=("x.py", 1, f"Skipped: {reason}"),
        when="setup",
    )


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("tests/x.py::test_tags", "this kernel has no VLAN interfaces"),
        ("tests/x.py::test_tags[IPv6]", "no VLAN"),
    ],
)
def test_an_expected_skip_stays_one(test: str, reason: str) -> None:
    """Whatever its parameters; the reason has to hold the words of the line."""
    report = skipped(test, reason)
    refuse_unexpected(report, [VLAN])
    assert "skipped" == report.outcome


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("tests/x.py::test_tags", "nova is not installed"),
        ("tests/x.py::test_tags_too", "no VLAN"),
        ("tests/y.py::test_tags", "no VLAN"),
    ],
)
def test_any_other_skip_is_a_failure(test: str, reason: str) -> None:
    """Another test, or another reason: it says why it was skipped."""
    report = skipped(test, reason)
    refuse_unexpected(report, [VLAN])
    assert "failed" == report.outcome
    assert str(report.longrepr).endswith(f"Skipped: {reason}")


def test_a_line_may_stand_for_a_file() -> None:
    """All tests of it are skipped for one reason."""
    report = skipped("tests/x.py::test_tags", "no VLAN")
    refuse_unexpected(report, [Expected("tests/x.py", "no VLAN", "")])
    assert "skipped" == report.outcome


def test_a_known_failure_is_no_skip() -> None:
    """pytest reports what is marked xfail as skipped."""
    report = skipped("tests/x.py::test_tags", "known")
    report.wasxfail = "known"
    refuse_unexpected(report, [])
    assert "skipped" == report.outcome


@pytest.mark.parametrize("path", LISTS, ids=lambda path: str(path.stem))
def test_each_line_names_a_test_that_is_there(path: Path) -> None:
    """And a reason, and what runs it instead."""
    for line in read(path):
        file, _, name = line.test.partition("::")
        assert f"def {name}" in (HERE.parents[1] / file).read_text(encoding="utf-8")
        assert line.reason
        assert line.shown_by


def test_what_one_kernel_skips_the_other_runs() -> None:
    """No test is skipped on both, so each is run before a change is taken."""
    here, stock = (
        {line.test for line in read(HERE / name)}
        for name in ("this_kernel.txt", "stock_kernel.txt")
    )
    assert set() == here & stock
