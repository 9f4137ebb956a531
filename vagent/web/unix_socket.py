"""The Unix sockets of the operator's APIs: made by the agent, found by its tools.

They are in the runtime directory, `root:vagent` with mode 0660. A path longer than a
socket's address holds (107 bytes, unix(7)) is reached through an open directory.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vagent.errors import KernelError

PORT_API = "port-api.sock"
CONFIG_API = "config-api.sock"
INTROSPECT = "introspect.sock"
FOLDER_MODE = 0o755
SHARED_MODE, ROOT_MODE = 0o660, 0o600
BACKLOG = 64
_LONGEST = 107


def make_folder(path: Path) -> None:
    """Make the runtime directory if it is missing. Raises KernelError where it cannot
    be made, or another user could replace what is in it.
    """
    try:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(FOLDER_MODE)
        found = path.stat()
    except OSError as failure:
        raise KernelError(f"runtime directory {path}: {failure.strerror}") from failure
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in (0, os.geteuid()) or mode & stat.S_IWOTH:
        raise KernelError(
            f"runtime directory {path}: other users may change it (owner is user "
            f"{found.st_uid}, mode {mode:04o}); make it root's, mode {FOLDER_MODE:04o}"
        )


def make_way(path: Path, address: str) -> None:
    """Remove the socket that a killed agent left at `path`. Raises KernelError where
    somebody listens on it.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
            trial.setblocking(False)
            trial.connect(address)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
        return
    except BlockingIOError:  # it listens, and its queue is full
        pass
    except OSError as failure:
        raise KernelError(f"{path}: {failure.strerror}") from failure
    raise KernelError(
        f"{path}: another process listens there; stop that agent, or give this one a "
        "<runtime-directory> of its own"
    )


def give_to_group(path: Path, group: int) -> str:
    """Let the group use a socket; says why it cannot, "" if it can."""
    try:
        os.chown(path, -1, group)
    except OSError as failure:
        return str(failure.strerror)
    path.chmod(SHARED_MODE)
    return ""


def found_at(path: Path) -> bool:
    """Whether a tool should use this socket: it is one, was made by root or by the
    user of this process, and may be connected to.
    """
    try:
        found = path.lstat()
    except OSError:
        return False
    is_ours = stat.S_ISSOCK(found.st_mode) and found.st_uid in (0, os.geteuid())
    return is_ours and os.access(path, os.W_OK)


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """The address of a socket at `path`, however long, while the context lasts. Raises
    OSError.
    """
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
