"""What holds for every test."""

from __future__ import annotations

import pytest

from tests import examples
from tests.skips import plugin

examples.register()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--expected-skips FILE`."""
    plugin.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    """What is skipped and not on that list fails."""
    plugin.register(config)
