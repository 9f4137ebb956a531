"""`python -m tests.mutants [OPTION...] [MODULE...]`: see `tests/mutants/__init__.py`.

Exit code 1: a mutant survived that is not listed, or one is listed that did not.
"""

from __future__ import annotations

import argparse
import os
import sys

from tests.mutants import survivors, workspace
from tests.mutants.mutant import Mutant


def arguments(argv: list[str]) -> argparse.Namespace:
    """What the operator wants."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument(
        "modules",
        nargs="*",
        help="only these, as vagent.ports.registry or vagent.ports",
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="at most so long")
    parser.add_argument(
        "--sample",
        type=int,
        default=100,
        help="percent, always the same ones",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--prune", action="store_true", help="strike stale entries off the list"
    )
    return parser.parse_args(argv)


def is_wanted(mutant: Mutant, wanted: argparse.Namespace) -> bool:
    """Shall it be tried, if mypy does not refuse it?"""
    return survivors.is_chosen(mutant, wanted.modules) and mutant.is_in_sample(
        wanted.sample
    )


def main(argv: list[str]) -> int:
    """See the module."""
    wanted = arguments(argv)
    text = survivors.FILE.read_text()
    listed = survivors.read(text)
    workspace.prepare()
    from tests.mutants import trial  # see there why not before

    files = trial.generate()
    left_out = workspace.left_out()
    mutants = {
        name: one
        for file in files
        for name, one in file.mutants().items()
        if one.function not in left_out
    }
    refused = trial.refused_by_types(files) & mutants.keys()
    chosen = {
        name
        for name, one in mutants.items()
        if is_wanted(one, wanted) and name not in refused
    }
    print(
        f"{len(mutants)} mutants, {len(refused)} of them refused by mypy, "
        f"{len(chosen)} to try",
        flush=True,
    )
    for file in files:
        file.choose(chosen)
    trial.run(files, len(chosen), wanted.jobs, 60 * wanted.minutes)
    codes = {name: code for file in files for name, code in file.outcomes().items()}
    survived = {mutants[name]: trial.lives(code) for name, code in codes.items()}
    survived |= {mutants[name]: False for name in refused}
    found = survivors.compare(listed, survived, mutants.values(), wanted.modules)
    return report(wanted, text, found, tried=len(codes), chosen=len(chosen))


def report(
    wanted: argparse.Namespace,
    text: str,
    found: survivors.Comparison,
    *,
    tried: int,
    chosen: int,
) -> int:
    """Say it; the exit code."""
    for mutant in found.new:
        print(f"\nNo test notices this, and it is not listed:\n\n{mutant}")
    for mutant in found.stale:
        print(f"\nListed, but killed or no longer there:\n\n{mutant}")
    if wanted.prune:
        survivors.FILE.write_text(survivors.without(text, found.stale))
    if tried < chosen:
        print(
            f"\n{chosen - tried} of {chosen} mutants were not tried: the time was over"
        )
    print(f"\n{tried} mutants tried, {len(found.new)} new, {len(found.stale)} stale")
    return int(bool(found.new or found.stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
