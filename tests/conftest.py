"""What holds for every test."""

from __future__ import annotations

from typing import Any

import pytest

from tests import examples, nova_waivers
from tests.skips import plugin

examples.register()


TOGETHER = ("tests/clients/", "tests/system/test_packaging.py")
"""Their tests share a real Nova, and what was built of this tree."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--expected-skips FILE`."""
    plugin.add_option(parser)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist=loadgroup`: the next test to whoever is idle, but all of a folder or
    file of TOGETHER to one process. (Groups that are marked come to nothing with this
    pytest and this pytest-xdist, which set and read different names.)
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling  # only where it is installed

    class Together(LoadScopeScheduling):  # type: ignore[misc]  # untyped
        def _split_scope(self, nodeid: str) -> str:
            return next((n for n in TOGETHER if nodeid.startswith(n)), nodeid)

    return Together(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How much may differ from Nova, after its comparisons."""
    reports = terminalreporter.stats.get("passed", ())
    if any("oracle" in one.nodeid or "conformance" in one.nodeid for one in reports):
        terminalreporter.write_line(nova_waivers.summary())


def pytest_configure(config: pytest.Config) -> None:
    """What is skipped and not on that list fails."""
    plugin.register(config)
