"""How long and how often, and what is said meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic

from bench.report.figures import Part


@dataclass(frozen=True, slots=True)
class Pace:
    """`count` rounds, `seconds` of each run of a proxy; `quick` leaves cases out."""

    count: int
    seconds: int
    quick: bool = False
    began: float = field(default_factory=monotonic)

    def rounds(self, part: Part) -> Iterator[int]:
        """1, 2, … with a heading."""
        yield from self._some(self.count, part)

    def at_most(self, count: int, part: Part) -> Iterator[int]:
        """As `rounds`, for what each round measures many times anyway."""
        yield from self._some(min(count, self.count), part)

    def twice(self, part: Part) -> Iterator[int]:
        """As `rounds`, where rounds differ by more than the goal allows."""
        yield from self._some(self.count if self.quick else 2 * self.count, part)

    def _some(self, count: int, part: Part) -> Iterator[int]:
        self.say(f"{part.letter}  {part.title}")
        yield from range(1, count + 1)

    def show(self, part: Part, number: int, case: str, *keys: str) -> None:
        """The runs just made: keys and units in turn."""
        pairs = list(zip(keys[::2], keys[1::2], strict=True))
        told = "   ".join(
            f"{result.contestant} "
            + ", ".join(f"{result.runs[-1][key]:,.1f} {unit}" for key, unit in pairs)
            for result in part.cases()[case]
        )
        self.say(f"   round {number}  {case:<24}{told}")

    def say(self, text: str) -> None:
        """A line with the seconds since the start."""
        print(f"{monotonic() - self.began:5.0f} s  {text}", flush=True)
