"""What holds for every test."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.skips import plugin

# A busy machine is slow, which is not what a property is about.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--expected-skips FILE`."""
    plugin.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    """What is skipped and not on that list fails."""
    plugin.register(config)
