"""Promises of vagent.store.durable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vagent.store.durable import make_folder, sync


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What fsync was called for, in order."""
    seen: list[Path] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        seen.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return seen


def test_files_and_folders_are_synced(tmp_path: Path, synced: list[Path]) -> None:
    """By fsync, of the thing itself."""
    file = tmp_path / "file"
    file.write_text("x")
    sync(file)
    sync(tmp_path)
    assert [file, tmp_path] == synced


def test_a_new_folder_has_its_name_on_the_disk(
    tmp_path: Path, synced: list[Path]
) -> None:
    """And so have those above it that are new; only the last has the mode."""
    make_folder(tmp_path / "a" / "b" / "c", mode=0o700)
    assert [tmp_path, tmp_path / "a", tmp_path / "a" / "b"] == synced
    assert 0o700 == (tmp_path / "a" / "b" / "c").stat().st_mode & 0o777
    assert 0o700 != (tmp_path / "a").stat().st_mode & 0o777


def test_a_folder_that_is_there_stays_as_it_is(
    tmp_path: Path, synced: list[Path]
) -> None:
    """Its mode included, and nothing waits for the disk."""
    folder = tmp_path / "a"
    folder.mkdir(mode=0o755)
    make_folder(folder, mode=0o700)
    assert 0o755 == folder.stat().st_mode & 0o777
    assert [] == synced


def test_something_else_is_in_the_way(tmp_path: Path) -> None:
    """It is no folder, nor can one be below it."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "a"):
        with pytest.raises(NotADirectoryError):
            make_folder(path, mode=0o700)
