"""One decision on the way of a request, as it is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """`ok` is None for what is neither good nor bad. `at` is in milliseconds since the
    probe's first packet (negative: before), `took` in milliseconds; None: no time.
    """

    name: str
    ok: bool | None
    detail: str
    at: float | None = None
    took: float | None = None
