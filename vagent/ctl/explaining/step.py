"""One step on the path of a request, as it is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PathStep:
    """`name` says where on the path it is; `ok` is None where it is not judged.

    `at` is in milliseconds since the probe's first packet (negative: before it), `took`
    in milliseconds; both are None where there is no such time. `remedy` is what to do
    about a step that failed, "" where nothing special is known.
    """

    name: str
    ok: bool | None
    detail: str
    at: float | None = None
    took: float | None = None
    remedy: str = ""
