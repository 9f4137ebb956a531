"""A mutant: one small fault in one function, named by what it changes.

mutmut numbers the mutants of a function, so that its names change with any edit. Here a
mutant is the function's name and the lines before and after, without line numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import unified_diff
from hashlib import sha256
from itertools import islice


@dataclass(frozen=True, slots=True)
class Mutant:
    """`function` is dotted, its module first. `change` are the lines that differ, with
    `- ` before those of the product and `+ ` before the mutant's. `number` tells apart
    equal changes of one function, in the order in which they stand.
    """

    function: str
    change: tuple[str, ...]
    number: int = 1

    def __str__(self) -> str:
        number = f" #{self.number}" if self.number > 1 else ""
        return "\n".join((self.function + number, *self.change))

    def is_in_sample(self, percent: int) -> bool:
        """Is it among so many of a hundred? Always the same ones."""
        digest = sha256(str(self).encode()).digest()
        return int.from_bytes(digest[:4], "big") % 100 < percent


def change_of(product: str, mutant: str) -> tuple[str, ...]:
    """The lines that differ, without their indentation."""
    lines = unified_diff(product.splitlines(), mutant.splitlines(), n=0, lineterm="")
    return tuple(
        f"{line[0]} {line[1:].strip()}"
        for line in islice(lines, 2, None)  # behind the names of the two files
        if not line.startswith("@@")
    )


def numbered(changes: Iterable[tuple[str, tuple[str, ...]]]) -> list[Mutant]:
    """Mutants out of function and change, in the order in which they stand."""
    seen: Counter[tuple[str, tuple[str, ...]]] = Counter()
    found = []
    for each in changes:
        seen[each] += 1
        found.append(Mutant(*each, seen[each]))
    return found
