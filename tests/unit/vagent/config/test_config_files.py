"""Promises on findings and on files, which the other steps stand on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vagent.config.files import read_bounded, reason
from vagent.config.findings import MAX_SHOWN, Findings, Place, shown, shown_name
from vagent.errors import ConfigError


def test_read_bounded_stops(tmp_path: Path) -> None:
    """At most one byte more than the ceiling is read, and repr does not show it."""
    path = tmp_path / "f"
    path.write_bytes(b"s3cr3t")
    assert read_bounded(path, 6).data == b"s3cr3t"
    assert read_bounded(path, 4).data == b"s3cr3"
    assert "s3cr3t" not in repr(read_bounded(path, 6))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(0o600, (False, False)), (0o640, (True, False)), (0o604, (False, True))],
)
def test_who_may_read(tmp_path: Path, mode: int, expected: tuple[bool, bool]) -> None:
    """Group and others are told apart; the mode is that of the file that was read."""
    path = tmp_path / "f"
    path.touch()
    path.chmod(mode)
    content = read_bounded(path, 1)
    assert (*expected, mode) == (content.group_reads, content.others_read, content.mode)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A FIFO does not block, a device does not feed; no descriptor stays open."""
    os.mkfifo(tmp_path / "fifo")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- a count, no paths
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match=r"regular file|directory"):
            read_bounded(path, 1)
    assert before == len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- as above


def test_reasons() -> None:
    """The system's words if it has any."""
    assert reason(FileNotFoundError(2, os.strerror(2))) == "No such file or directory"
    assert reason(ValueError("embedded null byte")) == "not a usable path"


def test_shown() -> None:
    """Texts are quoted, cut and escaped, so that a message is one short line."""
    assert shown("a\nb") == "'a\\nb'"
    assert shown_name("a\x85") == "a\\x85"
    assert len(shown("a" * MAX_SHOWN)) == MAX_SHOWN + 2
    assert shown("a" * MAX_SHOWN + "b").endswith("a…'")


def test_findings_are_told_in_the_order_of_lines() -> None:
    """Errors and warnings are sorted by line, and counted in the repr."""
    findings = Findings("f")
    for line in (3, 1, 2):
        findings.refuse(Place(line, f"/{line}"), "no")
        findings.warn(Place(line, f"/{line}"), "hm")
    assert [each.line for each in findings.warnings] == [1, 2, 3]
    assert repr(findings) == "<Findings f: 3 errors, 3 warnings>"
    with pytest.raises(ConfigError) as caught:
        findings.raise_if_refused()
    assert str(caught.value).split("\n") == [
        "f:1: /1: no",
        "f:2: /2: no",
        "f:3: /3: no",
    ]
    assert findings.has_refused("/1")
    assert not findings.has_refused("/")


def test_no_findings_raise_nothing() -> None:
    """Warnings alone do not refuse."""
    findings = Findings("f")
    findings.warn(Place(1, "/"), "hm")
    findings.raise_if_refused()
