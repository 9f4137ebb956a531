"""What a check has to say. Knows neither where facts come from nor how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad: WRONG stops guests now, WARNING will or may, NOTE is for the reader."""

    WRONG = "wrong"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` was found, what that `means` for guests, and the command that `mend`s it.

    Where no command can know the cure (another host's fault), `mend` shows more of it.
    """

    severity: Severity
    what: str
    means: str
    mend: str


def wrong(what: str, means: str, mend: str) -> Finding:
    """A finding that stops guests."""
    return Finding(Severity.WRONG, what, means, mend)


def warning(what: str, means: str, mend: str) -> Finding:
    """A finding that may stop guests, or will."""
    return Finding(Severity.WARNING, what, means, mend)


def note(what: str, means: str, mend: str) -> Finding:
    """A finding that stops nobody."""
    return Finding(Severity.NOTE, what, means, mend)
