"""A folder of port files that other programs write to: which files changed since it was
looked at. The functions wait for the disk, so call them in a thread.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from vagent.errors import StoreError
from vagent.ports.members import UUID

MAX_NAMES = 65_536
"""Names in a folder that are looked at: four times the ports that a host may have."""
UNREADABLE = "!"
"""Begins the mark of a file that is no valid port: that it goes says nothing."""


def mark_of(found: os.stat_result) -> str:
    """What changes when a file is written or replaced, whatever the clock says."""
    return f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"


def mark_at(path: Path | str) -> str:
    """The mark of a file, "" if there is none."""
    try:
        return mark_of(os.lstat(path))
    except OSError:
        return ""


def listing(directory: Path) -> dict[str, str]:
    """The marks of all files with a UUID for a name. Raises StoreError where the folder
    cannot be read or has too many names.
    """
    found: dict[str, str] = {}
    try:
        with os.scandir(directory) as entries:
            for number, entry in enumerate(entries):
                if number >= MAX_NAMES:
                    raise StoreError(f"{directory}: more than {MAX_NAMES} names")
                if UUID.fullmatch(entry.name):
                    with suppress(FileNotFoundError):  # it has just gone
                        found[entry.name] = mark_of(entry.stat(follow_symlinks=False))
    except OSError as error:
        raise StoreError(f"{directory}: {error.strerror}") from error
    return found


@dataclass
class WatchedFolder:
    """A folder, and the marks of its files when they were read or written last."""

    directory: Path
    marks: dict[str, str] = field(default_factory=dict)
    _folder: tuple[int, int] | None = field(default=None, init=False)
    _changed_at: int = field(default=0, init=False)
    _is_calm: bool = field(default=False, init=False)

    def changes(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of files that are new or different, and of those that went.

        The folder is not listed while its own time of change stays what it was the last
        two times: a change may come within one tick of the clock after a look. A file
        that is written in place does not change the folder, so the known files are
        looked at each time. Raises StoreError where the folder cannot be read, or is
        another one than before: nothing is said to have gone then.
        """
        try:
            found = self.directory.stat()
        except OSError as error:
            raise StoreError(f"{self.directory}: {error.strerror}") from error
        folder = (found.st_dev, found.st_ino)
        if self._folder not in (None, folder):
            raise StoreError(
                f"{self.directory} is another folder than at the start: it is not "
                "followed until the agent is started again"
            )
        self._folder = folder
        was_calm = self._is_calm
        self._is_calm = found.st_mtime_ns == self._changed_at
        self._changed_at = found.st_mtime_ns
        if was_calm and self._is_calm:
            return self._written_in_place(), ()
        now = listing(self.directory)
        changed = [n for n, mark in now.items() if not self._is_known(n, mark)]
        gone = [n for n in self.marks if n not in now]
        return tuple(sorted(changed)), tuple(sorted(gone))

    def note(self, name: str, mark: str, *, is_valid: bool = True) -> None:
        """A file was read or written, and this is its mark. One that is no valid port
        but was one counts as that port's still: somebody may be writing it.
        """
        was_valid = not self.marks.get(name, UNREADABLE).startswith(UNREADABLE)
        self.marks[name] = mark if is_valid or was_valid else UNREADABLE + mark

    def forget(self, name: str) -> bool:
        """A file went. Was it one of a port?"""
        return not self.marks.pop(name, UNREADABLE).startswith(UNREADABLE)

    def _written_in_place(self) -> tuple[str, ...]:
        # Texts, as thousands of Path objects cost more than the calls of the kernel. A
        # file that has just gone changed the folder, and is told by the next listing.
        now = ((name, mark_at(f"{self.directory}/{name}")) for name in self.marks)
        return tuple(
            sorted(n for n, mark in now if mark and not self._is_known(n, mark))
        )

    def _is_known(self, name: str, mark: str) -> bool:
        return self.marks.get(name, "").removeprefix(UNREADABLE) == mark
