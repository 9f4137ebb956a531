"""What may differ from Nova: the lines of tests/fixtures/nova/waivers.txt.

A line says for which requests, under which name in docs/compatibility-nova.md, and with
which status here. Recorded and live comparisons fail on any difference without a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

FILE = Path(__file__).parent / "fixtures" / "nova" / "waivers.txt"
SAME = "same"
ANY = "any"


@dataclass(frozen=True)
class Waiver:
    """`status` is what is answered here: a number, SAME as Nova (then the body may
    differ), or ANY but 500.
    """

    name: str
    status: str
    pattern: str

    def covers(self, request: str) -> bool:
        """Is it for this request? By what the comparison calls it, or its target."""
        return fnmatchcase(request, self.pattern)

    def allows(self, nova: int, here: int) -> bool:
        """Is this status here as agreed?"""
        if self.status == ANY:
            return here != 500
        return here == (nova if self.status == SAME else int(self.status))


@cache
def waivers() -> tuple[Waiver, ...]:
    """All of them, in the file's order."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    rows = [line.split(" ", 2) for line in lines if line and not line.startswith("#")]
    return tuple(Waiver(name, status, pattern) for name, status, pattern in rows)


def waiver_for(*names: str) -> Waiver | None:
    """The first that covers a request, which has these names."""
    for waiver in waivers():
        if any(waiver.covers(name) for name in names):
            return waiver
    return None


def summary() -> str:
    """For the end of a test run."""
    return f"{len(waivers())} waivers in {FILE.name}, which may only become fewer"
