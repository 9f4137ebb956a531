"""What is told of the directory and its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from vagent.judgements.judgement import JudgementKind, Severity, SubjectKind
from vagent.nova.instance_files.directory import InstanceFile, Look
from vagent.nova.instance_files.judging import of_directory, of_files

FOLDER = Path("/i")


def bad(name: str, uuid: str = "") -> InstanceFile:
    return InstanceFile(FOLDER / name, (0, 0, 0, 0), uuid, True, f"bad {name}")


@pytest.mark.parametrize(
    ("was_read", "means"),
    [
        (False, "it was not read since the agent started, so each guest gets 500"),
        (
            True,
            "files that were read before are served as they were, new ones are not"
            " seen",
        ),
    ],
)
def test_a_directory_that_cannot_be_used(was_read: bool, means: str) -> None:
    """With the reason, what it means for guests, and what mends it."""
    assert [] == [*of_directory(FOLDER, "", was_read=was_read)]
    (found,) = of_directory(FOLDER, "cannot be read: x", was_read=was_read)
    assert JudgementKind.INSTANCE_DIRECTORY_FAILED is found.kind
    assert Severity.WRONG is found.severity
    assert (SubjectKind.DIRECTORY, "/i") == (found.subject.kind, found.subject.id)
    assert f"cannot be read: x; {means}" == found.text
    assert found.remedy.startswith("ls -ld /i: it must be there (mounted), readable")


def test_bad_files_are_one_judgement() -> None:
    """With their number and the first one's problem, however many there are."""
    assert [] == [*of_files(FOLDER, Look({}, ()), ())]
    (found,) = of_files(FOLDER, Look({}, (bad("b"), bad("a"))), ())
    assert JudgementKind.INSTANCE_FILES_REFUSED is found.kind
    assert "directory /i" == str(found.subject)
    assert "2 files are no good: a: bad a" == found.text
    assert "vagentctl instance list" in found.remedy
    (found,) = of_files(FOLDER, Look({}, (bad("b"),)), ())
    assert "1 file is no good: b: bad b" == found.text


@pytest.mark.parametrize(
    ("file", "counts", "kept", "severity"),
    [
        (bad("a"), None, (), Severity.WRONG),
        (bad("a", "u"), None, (), Severity.WRONG),
        (bad("a", "u"), bad("a", "u"), (), Severity.WRONG),
        (bad("a", "u"), bad("a", "u"), ("u",), Severity.WARNING),
        (bad("b", "u"), bad("a", "u"), (), Severity.WARNING),
    ],
)
def test_how_bad_a_bad_file_is(
    file: InstanceFile,
    counts: InstanceFile | None,
    kept: tuple[str, ...],
    severity: Severity,
) -> None:
    """Only a warning where its guest is served: as before, or by another file."""
    files = {} if counts is None else {counts.uuid: counts}
    (found,) = of_files(FOLDER, Look(files, (file,)), kept)
    assert severity is found.severity
