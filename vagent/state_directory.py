"""The directory that holds all that the agent must not lose, for one process at a time.

Two agents with one directory would take each other's port files for their own, and
with them the guests' identities. So whoever uses it holds a lock on a file in it, which
the kernel takes away when the process ends, however it ends (flock(2)).
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from vagent.errors import StoreError
from vagent.store.durable import make_folder

LOCK = "lock"
"""Name of the file. It stays when the agent stops: a lock on a file that is being
removed would keep nobody out. It holds the process id of its last holder."""


class StateDirectory:
    """Take it before anything in it is read or written, and release it last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def __repr__(self) -> str:
        state = "not held" if self._lock is None else "held"
        return f"<StateDirectory {self._path} {state}>"

    def take(self) -> None:
        """Make the directory if it is missing, and hold it until `release`.

        Raises StoreError where another process holds it, where another user of this
        host could change what is in it, and where it cannot be made.
        """
        try:
            make_folder(self._path, mode=0o700)
            directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._check_owner(os.fstat(directory))
                self._lock = self._hold(directory)
            finally:
                os.close(directory)
        except OSError as failure:
            raise StoreError(
                f"state directory {self._path}: {failure.strerror}"
            ) from failure

    def release(self) -> None:
        """Let another process have it."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _check_owner(self, found: os.stat_result) -> None:
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid not in (0, os.geteuid()) or mode & stat.S_IWOTH:
            raise StoreError(
                f"state directory {self._path}: other users may change it (owner is"
                f" user {found.st_uid}, mode {mode:04o}); make it root's, mode 0700"
            )

    def _hold(self, directory: int) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        lock = os.open(LOCK, flags, 0o600, dir_fd=directory)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.write(lock, b"%d\n" % os.getpid())
        except BlockingIOError:
            os.close(lock)
            pid = holder(self._path)
            raise StoreError(
                f"state directory {self._path} is in use by"
                f" {'another process' if pid is None else f'process {pid}'}: stop that"
                " agent, or give this one a <state-directory> of its own"
            ) from None
        except OSError:
            os.close(lock)
            raise
        return lock


def holder(path: Path) -> int | None:
    """The id of the process that holds this state directory; None where none does, or
    it is out of our sight. Takes no lock, so it keeps no agent from starting.
    """
    lock = path / LOCK
    with suppress(OSError, ValueError):
        pid = int(lock.read_text())
        for descriptor in Path("/proc", str(pid), "fd").iterdir():
            with suppress(OSError):
                if descriptor.samefile(lock):
                    return pid
    return None
