"""Promises of vagent.ports.watched_folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vagent.errors import StoreError
from vagent.ports import watched_folder
from vagent.ports.watched_folder import WatchedFolder, listing, mark_at

ONE, TWO = (f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2))
NOTHING: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


def seen(folder: WatchedFolder) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Its changes, which are noted as a reader does."""
    changed, gone = folder.changes()
    for name in changed:
        folder.note(name, mark_at(folder.directory / name))
    for name in gone:
        folder.forget(name)
    return changed, gone


def test_files_that_come_change_and_go(tmp_path: Path) -> None:
    """Each is told once; names that are no UUIDs are nobody's business."""
    folder = WatchedFolder(tmp_path)
    (tmp_path / ONE).write_text("1")
    (tmp_path / "other").write_text("1")
    assert ((ONE,), ()) == seen(folder)
    assert NOTHING == seen(folder)
    (tmp_path / TWO).write_text("2")
    assert ((TWO,), ()) == seen(folder)
    (tmp_path / ONE).unlink()
    assert ((), (ONE,)) == seen(folder)
    assert NOTHING == seen(folder)


def test_a_file_that_is_replaced_has_changed(tmp_path: Path) -> None:
    """Whatever its size and the clock say."""
    folder = WatchedFolder(tmp_path)
    (tmp_path / ONE).write_text("1")
    seen(folder)
    (tmp_path / "new").write_text("2")
    found = (tmp_path / ONE).stat()
    os.utime(tmp_path / "new", ns=(found.st_atime_ns, found.st_mtime_ns))
    (tmp_path / "new").rename(tmp_path / ONE)
    assert ((ONE,), ()) == seen(folder)


def test_a_file_that_is_written_in_place_has_changed(tmp_path: Path) -> None:
    """It leaves the folder as it was: each time, of the same size or another."""
    folder = WatchedFolder(tmp_path)
    for name in (ONE, TWO):
        (tmp_path / name).write_text("1")
    seen(folder)
    assert [NOTHING] * 2 == [seen(folder), seen(folder)]
    os.utime(tmp_path / TWO, ns=(1, 1))
    (tmp_path / ONE).write_text("22")
    assert ((ONE, TWO), ()) == seen(folder)
    assert NOTHING == seen(folder)


def test_a_file_that_goes_during_a_look_is_told_by_the_next(tmp_path: Path) -> None:
    """As one that went: the folder says so itself."""
    folder = WatchedFolder(tmp_path)
    (tmp_path / ONE).write_text("1")
    for _ in range(3):
        seen(folder)
    before = tmp_path.stat()
    (tmp_path / ONE).unlink()
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert NOTHING == seen(folder)
    os.utime(tmp_path, ns=(1, 1))
    assert ((), (ONE,)) == seen(folder)


def test_what_was_noted_is_no_change(tmp_path: Path) -> None:
    """As the journal notes what it wrote itself."""
    folder = WatchedFolder(tmp_path)
    (tmp_path / ONE).write_text("1")
    folder.note(ONE, mark_at(tmp_path / ONE))
    assert NOTHING == folder.changes()


def test_a_calm_folder_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change it is listed twice, as two changes may have one time."""
    folder = WatchedFolder(tmp_path)
    listed: list[Path] = []

    def count(directory: Path) -> dict[str, str]:
        listed.append(directory)
        return {}

    monkeypatch.setattr(watched_folder, "listing", count)
    for _ in range(5):
        folder.changes()
    assert 2 == len(listed)
    (tmp_path / ONE).touch()
    os.utime(tmp_path, ns=(1, 1))
    for _ in range(5):
        folder.changes()
    assert 4 == len(listed)


def test_an_unreadable_file_that_goes_is_no_ports(tmp_path: Path) -> None:
    """But one that was a port's counts as that port's while somebody writes it."""
    folder = WatchedFolder(tmp_path)
    folder.note(ONE, "mark", is_valid=False)
    assert not folder.forget(ONE)
    folder.note(ONE, "mark")
    folder.note(ONE, "other", is_valid=False)
    assert folder.forget(ONE)
    assert not folder.forget(ONE)


def test_an_unreadable_file_is_told_once(tmp_path: Path) -> None:
    """Until it changes, as one that is mended in place does."""
    folder = WatchedFolder(tmp_path)
    (tmp_path / ONE).write_text("1")
    folder.note(ONE, mark_at(tmp_path / ONE), is_valid=False)
    for _ in range(3):
        assert NOTHING == folder.changes()
    (tmp_path / ONE).write_text("22")
    assert ((ONE,), ()) == folder.changes()


def test_a_folder_that_cannot_be_looked_at_has_lost_nothing(tmp_path: Path) -> None:
    """Nor has one that another was put in place of, an empty disk for example."""
    directory = tmp_path / "ports"
    folder = WatchedFolder(directory)
    with pytest.raises(StoreError, match="No such file"):
        folder.changes()
    directory.mkdir()
    (directory / ONE).write_text("1")
    seen(folder)
    directory.rename(tmp_path / "old")
    directory.mkdir()
    for _ in range(2):
        with pytest.raises(StoreError, match="another folder than at the start"):
            folder.changes()
    directory.rmdir()
    (tmp_path / "old").rename(directory)
    assert NOTHING == folder.changes()


def test_a_folder_with_too_many_names_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody fills it."""
    monkeypatch.setattr(watched_folder, "MAX_NAMES", 2)
    for name in (ONE, "b"):
        (tmp_path / name).touch()
    assert [ONE] == list(listing(tmp_path))
    (tmp_path / "c").touch()
    with pytest.raises(StoreError, match="more than 2 names"):
        listing(tmp_path)
