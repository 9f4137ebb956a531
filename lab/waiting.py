"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from lab.namespaces import PATIENCE, LabError

T = TypeVar("T")
PAUSE = 0.02 * PATIENCE
"""Seconds between two looks, which cost something too."""


def wait_for(
    what: Callable[[], T],
    accept: Callable[[T], object] = bool,
    *,
    seconds: float = 10.0,
    pause: float = PAUSE,
) -> T:
    """The first value of `what` that is accepted; a machine that is known to be slow
    has more than these seconds. Raises LabError with the value that was last.
    """
    deadline = time.monotonic() + seconds * PATIENCE
    while not accept(value := what()):
        if time.monotonic() >= deadline:
            raise LabError(f"not within {seconds * PATIENCE:g} s; at last: {value!r}")
        time.sleep(pause)
    return value


def holds(what: Callable[[], object], *, seconds: float) -> None:
    """Look for so long whether it is true all the time: what must not happen, for as
    long as a fault lasts. Raises LabError as soon as it is not true.

    The time is the same on every machine, as the fault's length is part of a test.
    """
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        if not what():
            raise LabError(f"true for {passed:.1f} s, and then no more")
        time.sleep(min(PAUSE, seconds - passed))
