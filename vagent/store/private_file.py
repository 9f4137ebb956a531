"""Small files with secrets of the agent: nobody else may read them, and they are whole
or not there. Every function waits for the disk, so call it in a thread.
"""

from __future__ import annotations

import os
from pathlib import Path

from vagent.store.durable import sync


def read_private(path: Path, most: int) -> bytes:
    """The file's content, cut at `most` bytes. Raises OSError, and ValueError where
    others may read it.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise ValueError("others may read it, so its keys are not used")
        return file.read(most)


def write_private(path: Path, content: bytes, *, durable: bool) -> None:
    """Put a file with this content in the place of the one that is there. Raises
    OSError, and then that one stays. `durable`: it survives a power cut.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)
    if durable:
        sync(path.parent)
