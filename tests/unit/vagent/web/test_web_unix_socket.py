"""Promises of vagent.web.unix_socket: made by root, found by tools."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from vagent.errors import KernelError
from vagent.web.unix_socket import (
    FOLDER_MODE,
    SHARED_MODE,
    address_of,
    found_at,
    give_to_group,
    make_folder,
    make_way,
)


@contextmanager
def bound(path: Path, *, listens: bool = True) -> Iterator[socket.socket]:
    """A Unix socket at this path."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(stack.enter_context(address_of(path)))
        if listens:
            server.listen()
        yield server


def test_the_folder(tmp_path: Path) -> None:
    """Made with its parents, for all to enter; one that is there stays as it is."""
    folder = tmp_path / "a" / "run"
    make_folder(folder)
    assert FOLDER_MODE == stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(0o700)
    make_folder(folder)
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)


def test_a_folder_that_others_may_change(tmp_path: Path) -> None:
    """Refused: a socket in it could be somebody else's."""
    tmp_path.chmod(0o1777)
    with pytest.raises(KernelError, match="other users may change it"):
        make_folder(tmp_path)
    tmp_path.chmod(0o755)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(KernelError, match="runtime directory"):
        make_folder(file)


def test_what_a_killed_agent_left(tmp_path: Path) -> None:
    """Is removed; nothing there is well."""
    path = tmp_path / "s"
    make_way(path, str(path))
    with bound(path):
        pass
    assert path.exists()
    make_way(path, str(path))
    assert not path.exists()


def test_a_socket_on_which_somebody_listens(tmp_path: Path) -> None:
    """Stays, with what to do."""
    path = tmp_path / "s"
    with bound(path), pytest.raises(KernelError, match="another process listens"):
        make_way(path, str(path))
    assert path.exists()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    """Is not removed: listening will fail."""
    path = tmp_path / "s"
    path.touch()
    make_way(path, str(path))
    assert path.exists()


@pytest.mark.parametrize("name", ["s", "s" * 100])
def test_paths_of_any_length(tmp_path: Path, name: str) -> None:
    """A socket's address has 107 bytes, a path has more."""
    path = tmp_path / name / "x"
    path.parent.mkdir()
    with bound(path), address_of(path) as address, socket.socket(socket.AF_UNIX) as one:
        assert len(address) <= 107
        one.connect(address)
        assert found_at(path)


def test_what_a_tool_uses(tmp_path: Path) -> None:
    """A socket, whose owner is root or this user; not a file, nor a link to one."""
    path = tmp_path / "s"
    assert not found_at(path)
    path.touch()
    assert not found_at(path)
    path.unlink()
    with bound(path):
        assert found_at(path)
        (tmp_path / "link").symlink_to(path)
        assert not found_at(tmp_path / "link")
        os.chown(path, 65534, -1)
        assert not found_at(path)


def test_a_socket_for_the_group(tmp_path: Path) -> None:
    """The group may use it; others may not."""
    path = tmp_path / "s"
    with bound(path):
        assert "" == give_to_group(path, 4)
        found = path.stat()
        assert (4, SHARED_MODE) == (found.st_gid, stat.S_IMODE(found.st_mode))


def test_a_socket_that_cannot_be_given_away(tmp_path: Path) -> None:
    """The system says why."""
    assert "No such file or directory" == give_to_group(tmp_path / "s", 4)
