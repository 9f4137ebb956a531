"""How far a reader has to walk through the files, and what counts as a stay."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.walks.footsteps import Footsteps
from tests.walks.walks import WALKS, record, table

MOST = {
    "trapped packet to verdict": (10, 23),
    "request to upstream": (25, 79),
    "service to kernel": (37, 151),
    "who is this guest?": (4, 16),
}
"""Files and stays of each walk. They may only fall: lower them with the walk."""


@pytest.mark.parametrize("name", WALKS)
def test_no_walk_gets_longer(name: str) -> None:
    """A walk enters at most so many files, and changes file at most so often."""
    steps = record(WALKS[name])
    files, stays = MOST[name]
    assert 0 < steps.files <= files, steps.stays
    assert steps.files <= len(steps.stays) <= stays, steps.stays
    assert sys.getprofile() is None


def test_a_walk_ends_where_its_work_ends() -> None:
    """A packet's at its verdict in the trap, a request's where its bytes are sent."""
    packet = record(WALKS["trapped packet to verdict"]).stays
    trap = "vagent/datapath/trap/nfqueue.py"
    assert (trap, trap) == (packet[0], packet[-1])
    assert "vagent/transport/wire.py" == record(WALKS["request to upstream"]).stays[-1]


def test_stays_and_returns() -> None:
    """A call and its return are two stays; library code and stopping add none."""
    steps = Footsteps()
    inner = _function("vagent/b.py", "def go():\n    return 1\n")
    outer = _function(
        "provision/a.py",
        "def go(inner, library):\n    inner()\n    library(inner)\n",
    )
    library = _function("tests/c.py", "def go(inner):\n    inner()\n")
    steps.start()
    outer(inner, library)
    steps.stop()
    outer(inner, library)
    a, b = "provision/a.py", "vagent/b.py"
    assert [a, b, a, b, a] == steps.stays
    assert (2, 3) == (steps.files, steps.returns)
    assert ["2", "5", "3"] == table({"walk": steps}).split()[-3:]


def _function(file: str, source: str) -> Callable[..., Any]:
    """A function `go` that the interpreter takes for code of this file."""
    found: dict[str, Any] = {}
    path = Path(__file__).parents[3] / file
    exec(compile(source, path, "exec"), found)  # noqa: S102 the source is above
    go: Callable[..., Any] = found["go"]
    return go
