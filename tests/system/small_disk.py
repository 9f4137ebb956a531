"""A file system of its own for a test: small, so that it can be filled, and so that it
can be made read-only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.waiting import wait_for

BLOCK = 4096


class SmallDisk:
    """A tmpfs at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filling = folder / "filling"

    def fill(self) -> None:
        """Leave no room for a single block."""
        with self._filling.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(BLOCK))

    def free(self) -> None:
        """Give the room back."""
        self._filling.unlink()

    def make_read_only(self) -> None:
        """As a kernel does with a disk that fails."""
        wait_for(lambda: self._remounted("ro"))

    def make_writable(self) -> None:
        """The disk is well again."""
        self._remounted("rw")

    def _remounted(self, how: str) -> bool:
        """Not while a file is open for writing."""
        command = ["mount", "-o", f"remount,{how}", str(self.folder)]
        return subprocess.run(command, capture_output=True).returncode == 0


@contextmanager
def small_disk(folder: Path, *, kibibytes: int) -> Iterator[SmallDisk]:
    """Mounted over `folder` until the block ends."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "vagent-test"]
    subprocess.run([*mount, str(folder)], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
