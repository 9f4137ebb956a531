"""`python -m tests.fuzz SECONDS [TARGET...]`: look for input that breaks a promise.

Each target gets its share of the time. What the fuzzer learns is kept in `var/fuzz`;
input that breaks a promise is written there as `crash-…`, and the exit code is 1. Put
it into `tests/fuzz/corpus/TARGET` when it is mended: `make test` replays that.

The target `taps` is no parser: it compares the programs at the taps with a reference
(`tests.fuzz.taps`), needs root, and prints seeds.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["vagent.metadata", "vagent.kernel", "vagent.errors"]
):
    from tests.fuzz.promises import PROMISES

CORPUS = Path(__file__).parent / "corpus"
LEARNED = Path(__file__).parents[2] / "var" / "fuzz"
TAPS = "taps"
MAX_LENGTH = 4096
"""Bytes of an input; the ceilings above that have unit tests."""


def run_all(seconds: int, targets: list[str]) -> int:
    """Each target in a process of its own: libFuzzer ends its process."""
    worst = 0
    for name in targets:
        print(f"fuzzing {name} for {seconds // len(targets)} s", flush=True)
        share = str(max(seconds // len(targets), 1))
        argv = [sys.executable, "-m", "tests.fuzz", "--one", name, share]
        if name == TAPS:
            argv = [sys.executable, "-m", "tests.fuzz.taps", share]
        done = subprocess.run(argv, check=False)
        worst = max(worst, int(done.returncode != 0))
    return worst


def run_one(name: str, seconds: str) -> None:
    """libFuzzer with this target."""
    promise = PROMISES[name]
    learned = LEARNED / name
    learned.mkdir(parents=True, exist_ok=True)
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-max_len={MAX_LENGTH}",
            f"-artifact_prefix={LEARNED}/{name}-",
            f"-dict={CORPUS.parent / 'words.dict'}",
            "-verbosity=0",
            "-print_final_stats=1",
            str(learned),
            str(CORPUS / name),
        ],
        promise,
    )
    atheris.Fuzz()


def main() -> None:
    """See the module."""
    if sys.argv[1:2] == ["--one"]:
        run_one(*sys.argv[2:4])
        return
    seconds, *targets = sys.argv[1:] or ["60"]
    sys.exit(run_all(int(seconds), targets or [*PROMISES, TAPS]))


if __name__ == "__main__":
    main()
