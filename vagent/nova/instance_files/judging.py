"""What is wrong with the directory of instances now, as judgements. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path

from vagent.judgements.judgement import (
    Judgement,
    JudgementKind,
    Severity,
    Subject,
    SubjectKind,
)
from vagent.nova.instance_files.directory import InstanceFile, Look


def of_directory(path: Path, problem: str, *, was_read: bool) -> Iterator[Judgement]:
    """That it cannot be used, where there is a `problem`. `was_read`: at least once
    since the agent started.
    """
    if not problem:
        return
    means = "files that were read before are served as they were, new ones are not seen"
    if not was_read:
        means = "it was not read since the agent started, so each guest gets 500"
    yield Judgement(
        JudgementKind.INSTANCE_DIRECTORY_FAILED,
        Severity.WRONG,
        Subject(SubjectKind.DIRECTORY, str(path)),
        f"{problem}; {means}",
        f"ls -ld {path}: it must be there (mounted), readable by the agent and not"
        " writable by everybody; it is looked at every two seconds",
    )


def of_files(path: Path, found: Look, kept: Container[str]) -> Iterator[Judgement]:
    """One for all files that are no good, with the first one's problem. `kept` are the
    instances that are served as they were read before.
    """
    if not found.refused:
        return
    first = min(found.refused, key=lambda file: file.path)
    count = len(found.refused)
    files = "1 file is" if count == 1 else f"{count} files are"
    stops = any(_stops_its_guest(file, found, kept) for file in found.refused)
    yield Judgement(
        JudgementKind.INSTANCE_FILES_REFUSED,
        Severity.WRONG if stops else Severity.WARNING,
        Subject(SubjectKind.DIRECTORY, str(path)),
        f"{files} no good: {first.path.name}: {first.problem}",
        "correct or remove the file; vagentctl instance list names all of them",
    )


def _stops_its_guest(file: InstanceFile, found: Look, kept: Container[str]) -> bool:
    """Not where another file goes before it, and not where it is served as before."""
    if not file.uuid:
        return True
    counts = found.files.get(file.uuid)
    return counts is None or (counts.path == file.path and file.uuid not in kept)
