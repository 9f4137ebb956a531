"""Collects everything that is wrong with one file, so that one run reports
all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from vagent.errors import ConfigError, Problem

MAX_PROBLEMS = 1_000  # a person reads no more, and a hostile file can hold 200,000
MAX_SHOWN = 64  # characters of a value or name in a message; it stays one line


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the file: the line (1 for the file itself) and the element's path."""

    line: int
    path: str

    def child(self, name: str, line: int | None = None) -> Place:
        """The place of an element, or `@attribute`, below this one."""
        return Place(self.line if line is None else line, f"{self.path}/{name}")


THE_FILE = Place(1, "/")


def shown(text: str) -> str:
    """`text` quoted for a message: short, on one line, control characters escaped."""
    return repr(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…")


def shown_name(name: str) -> str:
    """The name of an element or attribute for a message, without quotes."""
    return shown(name)[1:-1]


class Findings:
    """The errors and warnings of one file.

    `refuse` raises `ConfigError` by itself when it is given one error more than
    `MAX_PROBLEMS`, so that reading a hostile file ends.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._errors: list[Problem] = []
        self._warnings: list[Problem] = []
        self._refused: set[str] = set()

    def __repr__(self) -> str:
        errors, warnings = len(self._errors), len(self._warnings)
        return f"<Findings {self._file}: {errors} errors, {warnings} warnings>"

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What works but should be looked at, in the order of lines."""
        return tuple(sorted(self._warnings, key=_line))

    def refuse(self, place: Place, what: str) -> None:
        """The value at `place` cannot be used."""
        if len(self._errors) >= MAX_PROBLEMS:
            self.refuse_file(
                f"more than {MAX_PROBLEMS} problems; the rest is not shown"
            )
        self._errors.append(self._problem(place, what))
        self._refused.add(place.path)

    def refuse_file(self, what: str, *, line: int = 1) -> NoReturn:
        """The file cannot be read further; raises `ConfigError` with all errors."""
        self._errors.append(self._problem(Place(line, THE_FILE.path), what))
        raise self.error()

    def warn(self, place: Place, what: str) -> None:
        """Nothing is wrong at `place`, but the operator should know."""
        if len(self._warnings) < MAX_PROBLEMS:
            self._warnings.append(self._problem(place, what))

    def has_refused(self, path: str) -> bool:
        """Whether an error was already reported at exactly this path."""
        return path in self._refused

    def has_refused_below(self, path: str) -> bool:
        """Whether an error was already reported for something inside this path."""
        return any(each.startswith(f"{path}/") for each in self._refused)

    def error(self) -> ConfigError:
        """Every error found so far, in the order of lines."""
        return ConfigError(tuple(sorted(self._errors, key=_line)))

    def raise_if_refused(self) -> None:
        """Raise `ConfigError` with every error found, if there is one."""
        if self._errors:
            raise self.error()

    def _problem(self, place: Place, what: str) -> Problem:
        return Problem(self._file, place.line, place.path, what)


def _line(problem: Problem) -> int:
    return problem.line
