"""Promises of vagent.ports.contrail_folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vagent.ports import contrail_folder
from vagent.ports.contrail_folder import ContrailFolder, FolderState, look, prepare


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Our own folder."""
    made = tmp_path / "vagent/ports"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where Contrail's is; not there yet, nor what is above it."""
    return tmp_path / "contrail/ports"


def test_a_missing_folder_becomes_a_link(path: Path, ours: Path) -> None:
    """With the folder above it; a second start leaves all as it is."""
    assert FolderState.MISSING is look(path, ours).state
    assert not path.parent.exists()
    for _ in range(2):
        made = prepare(path, ours)
        assert (FolderState.LINKED, True) == (made.state, made.is_well)
    assert ours == path.readlink()


def test_a_directory_stays_one(path: Path, ours: Path) -> None:
    """It is read beside ours."""
    path.mkdir(parents=True, mode=0o755)
    found = prepare(path, ours)
    assert (FolderState.BESIDE, True) == (found.state, found.is_well)


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_link_to_elsewhere_is_not_followed(
    path: Path, ours: Path, tmp_path: Path, target: str
) -> None:
    """Nor changed; it says where it leads to."""
    (tmp_path / "elsewhere").mkdir()
    path.parent.mkdir()
    path.symlink_to(tmp_path / target)
    found = prepare(path, ours)
    assert ContrailFolder(path, FolderState.ELSEWHERE, str(tmp_path / target)) == found
    assert not found.is_well


def test_a_link_by_another_way_is_ours(path: Path, ours: Path, tmp_path: Path) -> None:
    """Where an operator moved the state directory and left a link."""
    (tmp_path / "way").symlink_to(ours.parent)
    path.parent.mkdir()
    path.symlink_to(tmp_path / "way/ports")
    assert FolderState.LINKED is look(path, ours).state


@pytest.mark.parametrize(
    ("mode", "group", "why"),
    [
        (0o777, 0, "every user may write in it"),
        (0o775, 4242, "members of group 4242 may write in it"),
        (0o775, 0, ""),
        (0o775, 4343, ""),
        (0o755, 4242, ""),
    ],
)
def test_a_folder_that_others_write_in_is_not_read(
    path: Path,
    ours: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    group: int,
    why: str,
) -> None:
    """Who writes a port file can be any guest. The group of operators may."""
    monkeypatch.setattr(contrail_folder, "group_id", lambda: 4343)
    path.mkdir(parents=True)
    os.chown(path, -1, group)
    path.chmod(mode)
    found = prepare(path, ours)
    state = FolderState.UNSAFE if why else FolderState.BESIDE
    assert (state, why) == (found.state, found.detail)


def test_a_folder_of_another_user_is_not_read(path: Path, ours: Path) -> None:
    """It can be changed by that user."""
    path.mkdir(parents=True, mode=0o755)
    os.chown(path, 4242, 0)
    found = prepare(path, ours)
    expected = (FolderState.UNSAFE, "its owner is user 4242, not root")
    assert expected == (found.state, found.detail)


def test_what_is_no_folder_is_of_no_use(path: Path, ours: Path) -> None:
    """A file at its place, or in its way."""
    path.parent.mkdir()
    path.write_text("x")
    found = prepare(path, ours)
    assert (FolderState.UNUSABLE, "it is no directory") == (found.state, found.detail)
    assert FolderState.UNUSABLE is prepare(path / "ports", ours).state


def test_a_link_that_cannot_be_made_is_said(
    path: Path, ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent goes on without it."""

    def refuse(*_arguments: object) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(Path, "symlink_to", refuse)
    found = prepare(path, ours)
    assert FolderState.UNUSABLE is found.state
    assert "the link cannot be made: Read-only file system" == found.detail
