"""Makes files and folders survive a power cut. Every function waits for the disk, so
call it in a thread.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, *, mode: int) -> None:
    """Make a folder, and those above it that are missing, so that they are there after
    a power cut. A folder that exists is left as it is.

    `mode` is that of the last one; in those above it only the owner may write, whatever
    the umask. Raises OSError, NotADirectoryError if something else is in the way.
    """
    if path.is_dir():
        return
    if path.exists():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    missing = [path, *(each for each in path.parents if not each.exists())]
    for folder in reversed(missing):
        folder.mkdir(mode=mode if folder == path else 0o755, exist_ok=True)
        sync(folder.parent)
