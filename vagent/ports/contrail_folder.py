"""The folder in which Contrail's tools keep port files: /var/lib/contrail/ports.

`vrouter-port-control` writes or removes a file there, then calls the port API, and
takes a refused connection for success. So what changed while no agent was running is in
that folder alone. Where it is missing it is made a symbolic link to our own folder;
where it is a directory, the journal reads it beside our own. A link to somewhere else
is not followed, and a folder in which other users may write is not read: whoever writes
a port file can make itself any guest.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vagent.store.durable import make_folder, sync
from vagent.web.caller import group_id


class FolderState(StrEnum):
    """What is at the path: our link, a directory that is read, or what is of no use."""

    LINKED = "linked"
    BESIDE = "beside"
    MISSING = "missing"
    ELSEWHERE = "elsewhere"
    UNSAFE = "unsafe"
    UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class ContrailFolder:
    """The folder as it is. `detail` says more of what is wrong with it."""

    path: Path
    state: FolderState
    detail: str = ""

    @property
    def is_well(self) -> bool:
        """Does the agent see what Contrail's tools write?"""
        return self.state in (FolderState.LINKED, FolderState.BESIDE)


def look(path: Path, ports: Path) -> ContrailFolder:
    """What is there now. `ports` is our own folder. Changes nothing."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return ContrailFolder(path, FolderState.MISSING)
    except OSError as error:
        return ContrailFolder(path, FolderState.UNUSABLE, error.strerror or str(error))
    if stat.S_ISLNK(found.st_mode):
        target = os.path.realpath(path)
        if target == os.path.realpath(ports):
            return ContrailFolder(path, FolderState.LINKED)
        return ContrailFolder(path, FolderState.ELSEWHERE, target)
    if not stat.S_ISDIR(found.st_mode):
        return ContrailFolder(path, FolderState.UNUSABLE, "it is no directory")
    why = _why_unsafe(found)
    return ContrailFolder(path, FolderState.UNSAFE if why else FolderState.BESIDE, why)


def prepare(path: Path, ports: Path) -> ContrailFolder:
    """Make the link if nothing is there, with the folders above it; what is there now.
    Raises nothing: without it the agent serves all the same.
    """
    found = look(path, ports)
    if found.state is not FolderState.MISSING:
        return found
    try:
        make_folder(path.parent, mode=0o755)
        path.symlink_to(ports)
        sync(path.parent)
    except OSError as error:
        return ContrailFolder(
            path, FolderState.UNUSABLE, f"the link cannot be made: {error.strerror}"
        )
    return look(path, ports)


def _why_unsafe(found: os.stat_result) -> str:
    """Who else may write in a directory; "" if nobody may but root and members of the
    group of operators.
    """
    if found.st_uid not in (0, os.geteuid()):
        return f"its owner is user {found.st_uid}, not root"
    if found.st_mode & stat.S_IWOTH:
        return "every user may write in it"
    if found.st_mode & stat.S_IWGRP and found.st_gid not in (0, group_id()):
        return f"members of group {found.st_gid} may write in it"
    return ""
