"""What a check reports."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.judgements.judgement import Severity


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found (`what`), what it means for guests (`means`), and the command that
    mends it (`mend`). If no command can, as when another host is at fault, `mend` shows
    more about it.
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
