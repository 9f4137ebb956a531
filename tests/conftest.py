"""What holds for every test."""

from __future__ import annotations

from typing import Any

import pytest

from tests import examples
from tests.skips import plugin

examples.register()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--expected-skips FILE`."""
    plugin.add_option(parser)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist=loadgroup`: the next test to whoever is idle, but all that use the
    one real Nova to one process. (Groups that are marked come to nothing with this
    pytest and this pytest-xdist, which set and read different names.)
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling  # only where it is installed

    class TogetherWithNova(LoadScopeScheduling):  # type: ignore[misc]  # untyped
        def _split_scope(self, nodeid: str) -> str:
            return "Nova" if nodeid.startswith("tests/clients/") else nodeid

    return TogetherWithNova(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """What is skipped and not on that list fails."""
    plugin.register(config)
