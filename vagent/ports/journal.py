"""Keeps ports on disk, one file each (`<state>/ports/<uuid>`), over restarts.

A change is on the disk, the names in the folder included, before it is acknowledged;
one that fails leaves the files as they were. The functions of `port_files` run in a
thread; what they find comes back as values and is reported from the reactor.

Other programs write here too (`vrouter-port-control`), so only regular, small and valid
files are read. Where Contrail's folder is a directory of its own, its files are read
beside ours. Ours says with a mark which of Contrail's files it knew when it was
written. So a file of Contrail's counts if it is not the one of the mark, as its tool
wrote it since; else ours does, which may hold more. A port with a mark whose file is no
longer there was deleted. No clock is asked for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vagent.errors import StoreError, WireError
from vagent.observe.event import Emit
from vagent.ports.codec import PortRecord
from vagent.ports.contrail_folder import FolderState, prepare
from vagent.ports.events import (
    ContrailFolderUnused,
    PortEvent,
    PortFilesGone,
    PortFileSkipped,
    PortJournalFailed,
)
from vagent.ports.port import Registration
from vagent.ports.port_files import (
    clear_leftovers,
    delete_all,
    read_all,
    read_file,
    write_all,
)
from vagent.ports.watched_folder import WatchedFolder, listing, mark_at
from vagent.store.worker import RunInThread


@dataclass(frozen=True, slots=True)
class FileChanges:
    """What other programs did to the files since they were looked at: ports whose files
    are new or different, ids of those whose files went, files that are no ports, and
    why a folder could not be looked at.
    """

    appeared: tuple[PortRecord, ...] = ()
    gone: tuple[str, ...] = ()
    skipped: tuple[PortFileSkipped, ...] = ()
    failures: tuple[str, ...] = ()


class Journal:
    """The folder of port files, and that of Contrail's tools if there is one. Its
    caller sees to it that one operation ends before the next begins.
    """

    def __init__(
        self,
        directory: Path,
        *,
        run_in_thread: RunInThread,
        emit: Emit,
        contrail: Path | None = None,
    ) -> None:
        self.directory = directory
        self.unsaved: frozenset[str] = frozenset()
        """Ids of the ports that `load` found, whose files must be written anew."""
        self._contrail = contrail
        self._ours = WatchedFolder(directory)
        self._theirs: WatchedFolder | None = None
        self._run_in_thread = run_in_thread
        self._emit = emit

    def __repr__(self) -> str:
        return f"<Journal {self.directory}>"

    async def load(self) -> tuple[PortRecord, ...]:
        """Every port on disk, at start. A file that is no valid port is reported and
        left alone; StoreError is raised only if the folder cannot be read or made.
        """
        records, events = await self._run_in_thread(self._load)
        for event in events:
            self._emit(event)
        return records

    async def write(self, registrations: Sequence[Registration]) -> None:
        """Write these ports' files durably, replacing those that are there. Raises
        StoreError, and then the files are as they were.
        """
        if registrations:
            await self._run_in_thread(lambda: self._write(registrations))

    async def delete(self, port_ids: Iterable[str]) -> None:
        """Remove these ports' files durably; missing ones do not matter. Raises
        StoreError, and then every file that was there still is.
        """
        ids = tuple(port_ids)
        await self._run_in_thread(lambda: self._delete(ids))

    async def changes(self) -> FileChanges:
        """What other programs did to the files since this was asked, or since `load`.
        What this journal wrote itself is no change.
        """
        return await self._run_in_thread(self._look)

    def _load(self) -> tuple[tuple[PortRecord, ...], list[PortEvent]]:
        contents = read_all(self.directory)
        events: list[PortEvent] = [*contents.skipped]
        records = {record.port.id: record for record in contents.records}
        for port_id, mark in zip(records, contents.marks, strict=True):
            self._ours.note(port_id, mark)
        if self._contrail is not None:
            folder = prepare(self._contrail, self.directory)
            if folder.state is FolderState.BESIDE:
                self._theirs = WatchedFolder(self._contrail)
            elif not folder.is_well:
                state, detail = folder.state.value, folder.detail
                events.append(ContrailFolderUnused(str(folder.path), state, detail))
        if self._theirs is None:
            self.unsaved = frozenset(i for i, each in records.items() if each.mark)
        else:
            self._merge(self._theirs, records, events)
        return tuple(records[port_id] for port_id in sorted(records)), events

    def _merge(
        self,
        theirs: WatchedFolder,
        records: dict[str, PortRecord],
        events: list[PortEvent],
    ) -> None:
        """Bring what our files say to what Contrail's say."""
        try:
            clear_leftovers(theirs.directory)
            found = listing(theirs.directory)
            gone = [i for i, each in records.items() if each.mark and i not in found]
            for port_id in gone:
                del records[port_id]
            if gone:
                events.append(PortFilesGone(str(theirs.directory), len(gone)))
                delete_all(self.directory, gone)
        except StoreError as error:
            events.append(PortJournalFailed(str(error)))
            return
        changed: set[str] = set()
        for port_id, mark in sorted(found.items()):
            old = records.get(port_id)
            if old is not None and old.mark == mark:
                theirs.note(port_id, mark)
                continue
            record = _read_or_skip(theirs, port_id, events)
            if record is not None:
                changed.add(port_id)
                identities = old or record
                records[port_id] = replace(
                    record, identity=identities.identity, further=identities.further
                )
        self.unsaved = frozenset(changed)

    def _write(self, registrations: Sequence[Registration]) -> None:
        marks: dict[str, str] = {}
        if self._theirs is not None:
            for registration in registrations:
                port_id = registration.port.id
                marks[port_id] = mark_at(self._theirs.directory / port_id)
        write_all(self.directory, registrations, marks)
        for registration in registrations:
            port_id = registration.port.id
            self._ours.note(port_id, mark_at(self.directory / port_id))
            if self._theirs is not None and marks[port_id]:
                self._theirs.note(port_id, marks[port_id])

    def _delete(self, port_ids: tuple[str, ...]) -> None:
        theirs = self._theirs
        delete_all(self.directory, port_ids, theirs.directory if theirs else None)
        for port_id in port_ids:
            self._ours.forget(port_id)
            if theirs is not None:
                theirs.forget(port_id)

    def _look(self) -> FileChanges:
        appeared: dict[str, PortRecord] = {}
        gone: set[str] = set()
        skipped: list[PortEvent] = []
        failures: list[str] = []
        for folder in (self._ours, self._theirs):
            if folder is None:
                continue
            try:
                names, went = folder.changes()
            except StoreError as error:
                failures.append(str(error))
                continue
            for name in names:
                record = _read_or_skip(folder, name, skipped)
                if record is not None:
                    appeared[name] = record
            gone.update(name for name in went if folder.forget(name))
        return FileChanges(
            tuple(appeared.values()),
            tuple(sorted(gone - appeared.keys())),
            tuple(each for each in skipped if isinstance(each, PortFileSkipped)),
            tuple(failures),
        )


def _read_or_skip(
    folder: WatchedFolder, name: str, events: list[PortEvent]
) -> PortRecord | None:
    """The port in a file; None if it is none, which is reported, or has just gone."""
    path = folder.directory / name
    try:
        record, mark = read_file(path)
    except FileNotFoundError:
        return None
    except WireError as error:
        events.append(PortFileSkipped(str(path), str(error)))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        events.append(PortFileSkipped(str(path), reason))
    else:
        folder.note(name, mark)
        return record
    folder.note(name, mark_at(path), is_valid=False)
    return None
