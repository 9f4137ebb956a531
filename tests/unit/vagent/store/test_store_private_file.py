"""Promises of vagent.store.private_file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vagent.store.private_file import read_private, write_private


@pytest.mark.parametrize("durable", [False, True])
def test_what_is_written_is_read(tmp_path: Path, *, durable: bool) -> None:
    """Whole, for its owner alone, in the place of what was there."""
    path = tmp_path / "keys"
    for content in (b"one", b"another"):
        write_private(path, content, durable=durable)
        assert content == read_private(path, 100)
    assert b"ano" == read_private(path, 3)
    assert 0o600 == path.stat().st_mode & 0o777
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_of_others_is_not_read(tmp_path: Path, mode: int) -> None:
    """Who may read or write it is not the owner alone."""
    path = tmp_path / "keys"
    path.write_bytes(b"known to others")
    path.chmod(mode)
    with pytest.raises(ValueError, match="others may read it"):
        read_private(path, 100)


def test_a_killed_write_is_no_hindrance(tmp_path: Path) -> None:
    """Nor is a link that somebody laid there: it is not followed."""
    path, other = tmp_path / "keys", tmp_path / "other"
    other.write_bytes(b"other")
    (tmp_path / "keys.new").symlink_to(other)
    write_private(path, b"content", durable=False)
    assert (b"content", b"other") == (path.read_bytes(), other.read_bytes())


def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says why."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "keys"
    write_private(path, b"old", durable=True)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, b"new", durable=True)
    assert b"old" == path.read_bytes()
