"""The list of mutants that may survive, each with the reason why no test kills it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import Mutant

FILE = Path(__file__).with_name("survivors.txt")


class SurvivorsError(Exception):
    """The list cannot be read."""


def read(text: str) -> dict[Mutant, str]:
    """The reason for each mutant.

    Paragraphs are separated by empty lines. One that begins with `#` is a comment; one
    that begins with `== ` is the reason for all mutants below it, up to the next one.
    """
    reason = ""
    found: dict[Mutant, str] = {}
    for paragraph in text.strip().split("\n\n"):
        first, *lines = paragraph.strip().splitlines()
        if first.startswith("#"):
            continue
        if first.startswith("== "):
            reason = " ".join((first.removeprefix("== "), *lines))
            continue
        function, _, number = first.partition(" #")
        mutant = Mutant(function, tuple(lines), int(number or 1))
        if not reason:
            raise SurvivorsError(f"no reason above:\n{mutant}")
        if not lines or not all(line.startswith(("- ", "+ ")) for line in lines):
            raise SurvivorsError(f"not what a mutant changes:\n{mutant}")
        if mutant in found:
            raise SurvivorsError(f"twice:\n{mutant}")
        found[mutant] = reason
    return found


def without(text: str, gone: Collection[Mutant]) -> str:
    """The list without some mutants, and without reasons that are left with none."""
    titles = {str(mutant) for mutant in gone}
    kept: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        if paragraph.startswith("== ") and kept and kept[-1].startswith("== "):
            kept.pop()
        if paragraph.strip() not in titles:
            kept.append(paragraph.strip())
    if kept and kept[-1].startswith("== "):
        kept.pop()
    return "\n\n".join(kept) + "\n"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`new` survived and are not listed; `stale` are listed, but were killed or are not
    there any more.
    """

    new: tuple[Mutant, ...]
    stale: tuple[Mutant, ...]


def compare(
    listed: Collection[Mutant],
    survived: Mapping[Mutant, bool],
    existing: Iterable[Mutant],
    functions: Collection[str] = (),
) -> Comparison:
    """`survived` are those that were tried: True where no test noticed. `functions` are
    the beginnings of names that were looked at, where not all were.
    """
    there = set(existing)
    new = [each for each, lives in survived.items() if lives and each not in listed]
    stale = [
        each
        for each in listed
        if is_chosen(each, functions)
        and (each not in there or survived.get(each, True) is False)
    ]
    return Comparison(tuple(new), tuple(stale))


def is_chosen(mutant: Mutant, functions: Collection[str]) -> bool:
    """Does its name begin with one of these? With none of them given, it does."""
    return not functions or mutant.function.startswith(tuple(functions))
