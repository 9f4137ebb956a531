"""The maps and programs for a probe, where they are not there. Where they are, a probe
is tried with a real agent.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from vagent.datapath.tap.attach import IngressHook
from vagent.datapath.tap.probe import TapPrograms
from vagent.errors import KernelError


def no_hook() -> IngressHook:
    raise AssertionError


def test_an_agent_of_another_version(tmp_path: Path) -> None:
    """Which map is missing is said."""
    programs = TapPrograms("vagent", no_hook, tmp_path)
    with pytest.raises(KernelError, match=r"vagent/guest_1 is not there: the agent"):
        programs.__enter__()


def test_a_host_without_programs(tmp_path: Path) -> None:
    assert not TapPrograms("vagent", no_hook, tmp_path).is_at(1)
