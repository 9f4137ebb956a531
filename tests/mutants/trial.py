"""mutmut at work, with progress, for a bounded time.

Import this in the prepared copy alone: mutmut reads its configuration, from the working
directory, as soon as it is imported.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path

from mutmut.__main__ import create_mutants
from mutmut.mutation.data import MutantLineSpans, SourceFileMutationData
from mutmut.utils.file_utils import (
    copy_also_copy_files,
    copy_src_dir,
    walk_mutatable_files,
)
from mutmut.utils.format_utils import (
    mangled_name_from_mutant_name,
    orig_function_and_class_names_from_key,
)

from tests.mutants.mutant import Mutant, change_of, numbered
from tests.mutants.workspace import WORK

PROGRESS_SECONDS = 10.0

SURVIVED, NO_TEST, SKIPPED = 0, 33, 34
"""What mutmut notes of a mutant: the exit code of pytest, or a code of its own."""

TYPE_ERRORS = {
    *("arg-type", "assignment", "attr-defined", "call-arg", "call-overload"),
    *("comparison-overlap", "dict-item", "index", "list-item", "no-any-return"),
    *("operator", "return", "return-value", "str-format", "type-var", "union-attr"),
    "unreachable",
}
"""What mypy finds in a mutant alone. Other errors are due to the mutants of a function
standing beside each other, such as `no-redef`."""


class MutatedFile:
    """A module with all its mutants beside each other, as mutmut writes it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._data = SourceFileMutationData(path=path)
        self._data.load()
        self._spans = MutantLineSpans.load(path) or MutantLineSpans(
            path=path, span_by_function_name={}
        )

    def mutants(self) -> dict[str, Mutant]:
        """Those of the module, by mutmut's names for them."""
        names = list(self._data.exit_code_by_key)
        if not names:
            return {}
        functions = list(self._spans.span_by_function_name)
        sources = self._spans.read_function_sources(functions)
        texts = {
            function: source.replace(function, _bare(function), 1)
            for function, source in zip(functions, sources, strict=True)
        }
        changes = [
            (_function(name), change_of(texts[_original(name)], texts[_short(name)]))
            for name in names
        ]
        return dict(zip(names, numbered(changes), strict=True))

    def at(self, line: int) -> list[str]:
        """The mutants that have this line of the file that mutmut wrote."""
        spans = self._spans.span_by_function_name
        return [
            name
            for name in self._data.exit_code_by_key
            if spans[_short(name)].start <= line <= spans[_short(name)].end
        ]

    def choose(self, chosen: Collection[str]) -> None:
        """Only these shall be tried."""
        codes = self._data.exit_code_by_key
        codes |= {name: None if name in chosen else SKIPPED for name in codes}
        self._data.save()

    def outcomes(self) -> dict[str, int]:
        """The exit code for each mutant that was tried."""
        with suppress(json.JSONDecodeError):  # it is being written
            self._data.load()
        return {
            name: code
            for name, code in self._data.exit_code_by_key.items()
            if code not in (None, SKIPPED)
        }


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _original(name: str) -> str:
    return f"{mangled_name_from_mutant_name(_short(name))}__mutmut_orig"


def _bare(function: str) -> str:
    name: str = orig_function_and_class_names_from_key(function)[0]
    return name


def _function(name: str) -> str:
    function, owner = orig_function_and_class_names_from_key(name)
    module = name.rpartition(".")[0]
    return ".".join((module, owner, function) if owner else (module, function))


def generate() -> list[MutatedFile]:
    """Write the mutants of the prepared copy."""
    with redirect_stdout(StringIO()):
        copy_src_dir()
        copy_also_copy_files()
        create_mutants(os.cpu_count() or 1)
    return [MutatedFile(path) for path in walk_mutatable_files()]


def refused_by_types(files: Iterable[MutatedFile]) -> set[str]:
    """The mutants that mypy, which is a part of `make lint`, refuses."""
    command = [sys.executable, "-m", "mypy", "-p", "vagent", "--output", "json"]
    command += ["--cache-dir", str(WORK / ".mypy_cache")]
    done = subprocess.run(
        command, cwd="mutants", check=False, capture_output=True, text=True
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"mypy failed: {done.stderr or done.stdout}")
    by_path = {file.path: file for file in files}
    errors = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        name
        for error in errors
        if error["code"] in TYPE_ERRORS and error["file"] in by_path
        for name in by_path[error["file"]].at(error["line"])
    }


def run(files: Collection[MutatedFile], total: int, jobs: int, seconds: float) -> None:
    """Try what was chosen, `total` mutants, until all are tried or the time is over."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(jobs)]
    began = told = time.monotonic()
    log = WORK / "mutmut.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, start_new_session=True
        )
        try:
            while process.poll() is None and time.monotonic() - began < seconds:
                time.sleep(0.5)
                if time.monotonic() - told >= PROGRESS_SECONDS:
                    told = time.monotonic()
                    print(
                        f"{told - began:5.0f} s: {_progress(files, total)}", flush=True
                    )
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"mutmut ended with {process.returncode}, see {log}")


def _progress(files: Iterable[MutatedFile], total: int) -> str:
    codes = [code for file in files for code in file.outcomes().values()]
    return f"{len(codes)} of {total} tried, {sum(map(lives, codes))} survived"


def lives(code: int) -> bool:
    """Did no test notice? Whatever else became of pytest, it was not well."""
    return code in (SURVIVED, NO_TEST)
