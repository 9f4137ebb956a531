"""One process at a time has the state directory, and nobody else may write in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vagent.errors import StoreError
from vagent.state_directory import LOCK, StateDirectory, holder


def test_a_second_one_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    """The message says which directory and which process."""
    first, second = StateDirectory(tmp_path), StateDirectory(tmp_path)
    first.take()
    with pytest.raises(StoreError) as refused:
        second.take()
    assert str(refused.value).startswith(
        f"state directory {tmp_path} is in use by process {os.getpid()}:"
    )
    assert (f"<StateDirectory {tmp_path} held>", "not held") == (
        repr(first),
        repr(second).rpartition(str(tmp_path) + " ")[2][:-1],
    )
    first.release()
    second.take()
    second.release()
    second.release()


def test_the_holder_is_found_without_a_lock(tmp_path: Path) -> None:
    """None before, and none after though the file names it still."""
    state = StateDirectory(tmp_path)
    assert holder(tmp_path) is None
    state.take()
    assert os.getpid() == holder(tmp_path)
    state.release()
    assert f"{os.getpid()}\n" == (tmp_path / LOCK).read_text()
    assert holder(tmp_path) is None
    (tmp_path / LOCK).write_text("nobody")
    assert holder(tmp_path) is None


def test_a_holder_out_of_sight_has_no_number(tmp_path: Path) -> None:
    """It is in a container of its own, or has just begun."""
    first = StateDirectory(tmp_path)
    first.take()
    (tmp_path / LOCK).write_text("")
    with pytest.raises(StoreError, match="in use by another process"):
        StateDirectory(tmp_path).take()
    first.release()


def test_what_is_missing_is_made_for_us_alone(tmp_path: Path) -> None:
    """With any umask; what leads there may be entered by all."""
    path = tmp_path / "var" / "lib" / "vagent"
    before = os.umask(0)
    try:
        state = StateDirectory(path)
        state.take()
    finally:
        os.umask(before)
    state.release()
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path)]
    assert [0o755, 0o700] == modes
    assert 0o600 == stat.S_IMODE((path / LOCK).stat().st_mode)


def test_a_directory_that_all_may_write_in_is_refused(tmp_path: Path) -> None:
    """Nothing is made in it."""
    tmp_path.chmod(0o777)
    with pytest.raises(StoreError, match="mode 0777"):
        StateDirectory(tmp_path).take()
    assert [] == list(tmp_path.iterdir())


def test_a_directory_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who made it first could change what is in it."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 4711, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 4712)
    with pytest.raises(StoreError, match=r"other users may change it \(owner is user"):
        StateDirectory(tmp_path).take()
    assert [] == list(tmp_path.iterdir())


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    """What it leads to is neither made nor emptied."""
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic links"):
        StateDirectory(tmp_path).take()
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    """It is said which."""
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(StoreError, match=f"{path}: Not a directory"):
        StateDirectory(path).take()
    with pytest.raises(StoreError, match="Not a directory"):
        StateDirectory(path / "below").take()
