"""Which files there are, and whose they are. Blocks, so it runs in a thread.

At the start only the UUID of each file is looked for, which takes 10,000 files under a
second; each file is then read as a whole, some at a time, so that what is wrong is told
before a guest asks.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vagent.config.files import read_bounded, reason
from vagent.errors import VagentError
from vagent.nova.instance import Instance
from vagent.nova.instance_files.document import (
    MAX_FILE,
    SUFFIXES,
    likely_uuid,
    read_instance,
    read_value,
)

MAX_FILES = 16_384
"""Files of the directory, as many as the store has instances."""

FileState = tuple[int, int, int, int]
"""Time of change of content and of attributes, size, inode: another file is another
state."""


@dataclass(frozen=True, slots=True)
class InstanceFile:
    """A file as it was looked at. `uuid` is "" where nobody can tell whose it is;
    `problem` is "" where nothing is wrong with it, or not yet `read` as a whole.
    """

    path: Path
    state: FileState
    uuid: str = ""
    read: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of the directory: the file of each instance, the files that are no
    good, how many changed, and what is wrong with the directory itself.
    """

    files: Mapping[str, InstanceFile]
    refused: tuple[InstanceFile, ...]
    changed: int = 0
    removed: int = 0
    problem: str = ""


def state_of(found: os.stat_result) -> FileState:
    """The state of a file, or of a directory."""
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def load(path: Path) -> tuple[FileState, Instance]:
    """The instance that a file describes now. Raises VagentError, without the name."""
    state, content = _content(path)
    return state, read_instance(path.name, content)


def load_value(path: Path) -> Any:
    """The document of a file as a JSON value. Raises VagentError, without the name."""
    return read_value(path.name, _content(path)[1])


def _content(path: Path) -> tuple[FileState, bytes]:
    try:
        found = path.stat()
        if found.st_mode & stat.S_IWOTH and stat.S_ISREG(found.st_mode):
            raise VagentError("everybody on this host may write it: chmod o-w")
        content = read_bounded(path, MAX_FILE).data
    except (OSError, ValueError) as error:
        raise VagentError(f"cannot be read: {reason(error)}") from error
    if len(content) > MAX_FILE:
        raise VagentError(f"too large; allowed: {MAX_FILE} bytes")
    return state_of(found), content


def _state_of_entry(entry: os.DirEntry[str]) -> FileState:
    """That of a link itself where it leads nowhere, so that it is not passed over."""
    try:
        return state_of(entry.stat())
    except OSError:
        return state_of(entry.stat(follow_symlinks=False))


class InstanceDirectory:
    """The files of a directory, as they were when it was looked at last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, InstanceFile] = {}
        self._unread: list[str] = []

    def look(self) -> Look:
        """Find new, changed and removed files. Raises OSError or VagentError when the
        directory cannot be read; what was known is then known still.
        """
        if self._path.stat().st_mode & stat.S_IWOTH:
            raise VagentError("everybody on this host may write in it: chmod o-w")
        states = self._states()
        found: dict[str, InstanceFile] = {}
        changed = 0
        for name in sorted(states)[:MAX_FILES]:
            known = self._known.get(name)
            if known is None or known.state != states[name]:
                changed += 1
                known = self._new(name, states[name], known)
            found[name] = known
        removed = sum(name not in found for name in self._known)
        self._known = found
        self._unread = [name for name, file in found.items() if not file.read]
        problem = ""
        if len(states) > MAX_FILES:
            problem = f"{len(states)} files; only the first {MAX_FILES} are served"
        return replace(self.known(), changed=changed, removed=removed, problem=problem)

    def read_some(self, most: int) -> bool:
        """Read some files as a whole that were not read yet. Are there more?"""
        for name in self._unread[:most]:
            self._known[name] = self._read(self._known[name])
        self._unread = self._unread[most:]
        return bool(self._unread)

    def known(self) -> Look:
        """What is known. Of several files of one instance the first by name counts."""
        files: dict[str, InstanceFile] = {}
        refused: list[InstanceFile] = []
        for file in self._known.values():
            first = files.setdefault(file.uuid, file) if file.uuid else file
            if file.problem:
                refused.append(file)
            elif first is not file and file.read:
                problem = (
                    f"the same instance as {first.path.name}, which goes before it"
                )
                refused.append(replace(file, problem=problem))
        return Look(files, tuple(refused))

    def _states(self) -> dict[str, FileState]:
        found = {}
        with os.scandir(self._path) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.name.endswith(SUFFIXES):
                    continue
                try:
                    found[entry.name] = _state_of_entry(entry)
                except OSError:  # gone meanwhile
                    continue
        return found

    def _new(
        self, name: str, state: FileState, before: InstanceFile | None
    ) -> InstanceFile:
        """Whose the file probably is. One that became unreadable stays its guest's, who
        must not be given another document instead.
        """
        file = InstanceFile(self._path / name, state, before.uuid if before else "")
        try:
            content = read_bounded(file.path, MAX_FILE).data
        except (OSError, ValueError):
            return self._read(file)
        uuid = likely_uuid(name, content)
        return self._read(file) if uuid is None else replace(file, uuid=uuid)

    def _read(self, file: InstanceFile) -> InstanceFile:
        try:
            _, instance = load(file.path)
        except VagentError as error:
            return replace(file, read=True, problem=str(error))
        except Exception as error:  # a fault of ours; the other files must be read
            problem = f"the agent failed to read it: {type(error).__name__}"
            return replace(file, read=True, problem=problem)
        return replace(file, read=True, uuid=instance.uuid)
