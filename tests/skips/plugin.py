"""A skipped test fails unless the list of this machine expects it to be skipped.

`--expected-skips FILE` names the list: this_kernel.txt unless it is given. Each line of
a list has a test, what its reason says, and the suite that does run it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
OPTION = "--expected-skips"


@dataclass(frozen=True, slots=True)
class Expected:
    """A test, or a file of tests, that may be skipped for a reason with these words."""

    test: str
    reason: str
    shown_by: str

    def covers(self, test: str, reason: str) -> bool:
        """Is this skip the one? The parameters of a test are not looked at."""
        mine = test.split("[", maxsplit=1)[0]
        return self.reason in reason and self.test in (mine, mine.split("::")[0])


def read(path: Path) -> list[Expected]:
    """The lines of a list: test | words of the reason | what runs it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines if line and not line.startswith("#")]
    return [Expected(*(cell.strip() for cell in row)) for row in rows]


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why something was skipped, as it says itself."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return str(report.longrepr)


def refuse_unexpected(
    report: pytest.TestReport | pytest.CollectReport, expected: list[Expected]
) -> None:
    """Make a failure of a skip that no line expects. A test that is known to fail
    (xfail) is reported as skipped as well, and is let alone.
    """
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = reason_of(report)
    if not any(line.covers(report.nodeid, reason) for line in expected):
        report.outcome = "failed"
        report.longrepr = f"Not on the list of expected skips ({OPTION}): {reason}"


class Plugin:
    """Looks at every report of a run."""

    def __init__(self, expected: list[Expected]) -> None:
        self._expected = expected

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self,
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Of a test."""
        report = yield
        refuse_unexpected(report, self._expected)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self,
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Of a file that is skipped as a whole."""
        report = yield
        refuse_unexpected(report, self._expected)
        return report


def add_option(parser: pytest.Parser) -> None:
    """Let the list be named."""
    parser.addoption(
        OPTION,
        type=Path,
        default=HERE / "this_kernel.txt",
        help="list of tests that may be skipped on this machine",
    )


def register(config: pytest.Config) -> None:
    """Read the list and look at all reports from now on."""
    config.pluginmanager.register(Plugin(read(config.getoption(OPTION))))
