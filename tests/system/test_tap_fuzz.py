"""The programs at the taps do what a reference in plain Python says, whatever frame
comes. `make fuzz TARGETS=taps` looks for longer.
"""

from __future__ import annotations

import pytest

from tests.fuzz.taps.compare import FRAMES, look_for

pytestmark = [pytest.mark.system, pytest.mark.kernel]

SECONDS = 20
"""Of the same frames in each run, as many as there is time for."""


def test_programs_and_reference_agree() -> None:
    """On verdict, each byte, the tag beside the frame, mark and counters."""
    found, looked = look_for(SECONDS, seed=1)
    print(f"seeds 1 to {looked}, {FRAMES} frames each")
    assert not found, "\n".join(map(str, found))
