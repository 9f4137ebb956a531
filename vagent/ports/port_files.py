"""Port files on the disk, `<folder>/<uuid>`: reading, writing and removing many at a
time, all or none. Every function waits for the disk, so call it in a thread.

A file appears whole or not at all: it is written under a temporary name, synced and
renamed, and the folder is synced once for the whole batch. Until then, files that a
batch replaces or removes keep a second name.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vagent.errors import StoreError, WireError
from vagent.ports.codec import PortRecord, decode_record, encode_record
from vagent.ports.events import PortFileSkipped
from vagent.ports.members import UUID
from vagent.ports.port import Registration
from vagent.ports.watched_folder import mark_of
from vagent.store.durable import make_folder, sync

FOLDER_MODE = 0o750
MAX_FILE = 64 * 1024
"""Bytes; a port needs about 700."""
LEFTOVER = re.compile(rf"\.{UUID.pattern}\.(?:tmp|old)")
"""Names of the files that a change leaves behind if the process is killed meanwhile."""
SYNCS_AT_ONCE = 16
"""Threads that sync files at the same time; 4 take a third longer, 64 are no faster
(ext4)."""
SYNCED_TOGETHER = 128
"""Files that these threads are given at a time, which bounds the memory."""
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Contents:
    """The ports in the folder, in order of id, the marks of their files in the same
    order, and the files that were skipped.
    """

    records: tuple[PortRecord, ...]
    marks: tuple[str, ...]
    skipped: tuple[PortFileSkipped, ...]


def clear_leftovers(directory: Path) -> None:
    """Remove what killed changes left behind."""
    with suppress(OSError):
        for name in os.listdir(directory):  # noqa: PTH208 - names, not paths
            if LEFTOVER.fullmatch(name):
                with suppress(OSError):
                    (directory / name).unlink()


def read_all(directory: Path) -> Contents:
    """Read every file whose name is a UUID, and remove what killed changes
    left behind.
    """
    try:
        make_folder(directory, mode=FOLDER_MODE)
        names = sorted(os.listdir(directory))  # noqa: PTH208 - names, not paths
    except OSError as error:
        raise StoreError(f"port journal {directory}: {error.strerror}") from error
    records: list[PortRecord] = []
    marks: list[str] = []
    skipped: list[PortFileSkipped] = []
    for name in names:
        if LEFTOVER.fullmatch(name):
            with suppress(OSError):
                (directory / name).unlink()
        elif UUID.fullmatch(name):
            try:
                record, mark = read_file(directory / name)
                records.append(record)
                marks.append(mark)
            except WireError as error:
                skipped.append(PortFileSkipped(str(directory / name), str(error)))
            except OSError as error:
                reason = error.strerror or type(error).__name__
                skipped.append(PortFileSkipped(str(directory / name), reason))
    return Contents(tuple(records), tuple(marks), tuple(skipped))


def write_all(
    directory: Path, registrations: Sequence[Registration], marks: Mapping[str, str]
) -> None:
    """Write one file for each port, with the marks of Contrail's files by port id.
    Raises StoreError, and then the files are as they were.

    All are written first and then synced, several at the same time: the file system
    combines syncs that wait together, so 1,000 files take a third of the time of syncs
    one by one.
    """
    port_ids = [registration.port.id for registration in registrations]
    change = _Change(directory)
    port_id = ""
    try:
        make_folder(directory, mode=FOLDER_MODE)
        for registration in registrations:
            port_id = registration.port.id
            content = encode_record(registration, marks.get(port_id, ""))
            _write(_temporary(directory, port_id), content)
        with ThreadPoolExecutor(min(len(port_ids), SYNCS_AT_ONCE)) as syncing:
            for start in range(0, len(port_ids), SYNCED_TOGETHER):
                some = port_ids[start : start + SYNCED_TOGETHER]
                paths = [_temporary(directory, name) for name in some]
                waiting = [syncing.submit(sync, path) for path in paths]
                for port_id, synced in zip(some, waiting, strict=True):  # noqa: B007
                    synced.result()
        for port_id in port_ids:
            change.replace(port_id)
        sync(directory)
    except OSError as error:
        change.undo()
        for name in port_ids:
            with suppress(OSError):
                _temporary(directory, name).unlink(missing_ok=True)
        raise StoreError(
            f"Writing of Json string to file failed for {port_id}: "
            f"{directory}: {error.strerror}"
        ) from error
    change.forget_old()


def delete_all(
    directory: Path, port_ids: Collection[str], beside: Path | None = None
) -> None:
    """Remove these ports' files, also those in a folder `beside`. Raises StoreError,
    naming the file that could not be removed, and then every file that was there still
    is.
    """
    folders = [directory] if beside is None else [beside, directory]
    changes = [_Change(folder) for folder in folders]
    failing = directory
    try:
        for folder, change in zip(folders, changes, strict=True):
            for port_id in port_ids:
                failing = folder / port_id
                change.remove(port_id)
            failing = folder
            if folder.exists():
                sync(folder)
    except OSError as error:
        for change in changes:
            change.undo()
        raise StoreError(f"port file {failing}: {error.strerror}") from error
    for change in changes:
        change.forget_old()


class _Change:
    """A change of several files that can be undone until the folder is synced."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._appeared: list[str] = []
        self._kept: list[str] = []

    def replace(self, port_id: str) -> None:
        """Rename a port's temporary file over its file, if there is one: at every
        moment the port has a whole file.
        """
        final, old = self._directory / port_id, self._old(port_id)
        if os.path.lexists(final):
            old.unlink(missing_ok=True)
            old.hardlink_to(final)
            self._kept.append(port_id)
        else:
            self._appeared.append(port_id)
        _temporary(self._directory, port_id).rename(final)

    def remove(self, port_id: str) -> None:
        """Take the port's file away, if there is one."""
        final = self._directory / port_id
        if final.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with suppress(FileNotFoundError):
            final.rename(self._old(port_id))
            self._kept.append(port_id)

    def undo(self) -> None:
        """Bring every file back, as far as the disk lets us."""
        for port_id in self._appeared:
            with suppress(OSError):
                (self._directory / port_id).unlink(missing_ok=True)
        for port_id in self._kept:
            with suppress(OSError):
                self._old(port_id).rename(self._directory / port_id)
                # If both names still are the same file, rename(2) does nothing.
                self._old(port_id).unlink(missing_ok=True)

    def forget_old(self) -> None:
        """The folder is synced: remove the second names. Those that cannot be removed
        now are removed at the next start.
        """
        for port_id in self._kept:
            with suppress(OSError):
                self._old(port_id).unlink()

    def _old(self, port_id: str) -> Path:
        return self._directory / f".{port_id}.old"


def _temporary(directory: Path, port_id: str) -> Path:
    return directory / f".{port_id}.tmp"


def read_file(path: Path) -> tuple[PortRecord, str]:
    """The port in a file, and the file's mark."""
    descriptor = os.open(path, READ)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise WireError("not a regular file")
        if status.st_size > MAX_FILE:
            raise WireError(f"{status.st_size} bytes, at most {MAX_FILE}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            text = file.read(MAX_FILE + 1)
    finally:
        os.close(descriptor)
    record = decode_record(text[:MAX_FILE])
    if record.port.id != path.name:
        raise WireError(f"holds port {record.port.id}")
    return record, mark_of(status)


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, WRITE, 0o640), "wb") as file:
        file.write(content)
