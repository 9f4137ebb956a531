"""Reads agent.conf and the files that it names, up to a ceiling. The only module of
this room that touches the file system.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Content:
    """What was read, and the permission bits of the file at that moment."""

    data: bytes = field(repr=False)
    mode: int

    @property
    def others_read(self) -> bool:
        """Whether everybody on the host may read it."""
        return bool(self.mode & stat.S_IROTH)

    @property
    def group_reads(self) -> bool:
        """Whether the file's group may read it."""
        return bool(self.mode & stat.S_IRGRP)


def read_bounded(path: Path, ceiling: int) -> Content:
    """At most `ceiling` + 1 bytes of a regular file; one byte too many shows that it is
    too long. Raises OSError. Opening never blocks: FIFOs and devices are refused.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            if not stat.S_ISREG(mode):
                raise OSError(0, "not a regular file")
            return Content(file.read(ceiling + 1), stat.S_IMODE(mode))
    finally:
        os.close(descriptor)


def problem_of_directory(path: Path) -> str:
    """Why a directory cannot be read; "" where it can."""
    try:
        with os.scandir(path):
            return ""
    except OSError as error:
        return reason(error)


def reason(error: OSError | ValueError) -> str:
    """Why a file could not be read, in the operating system's words."""
    return getattr(error, "strerror", None) or "not a usable path"
