"""Gives the instances of a directory, each as its file is now.

A look at the state of one file (`stat`) tells whether what is known of it still holds,
so a change is seen by the next request. The directory itself is looked at every two
seconds, and when an unknown instance is asked for after it changed. A file that became
invalid leaves what was read of it before in force, as long as that is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater

from vagent.config.files import reason
from vagent.errors import StoreError, VagentError
from vagent.judgements.judgement import Judgement
from vagent.nova.instance import Instance
from vagent.nova.instance_files.directory import (
    FileState,
    InstanceDirectory,
    InstanceFile,
    Look,
    load,
    load_value,
    state_of,
)
from vagent.nova.instance_files.events import (
    InstanceDirectoryFailed,
    InstanceFileRefused,
    InstanceFilesChanged,
)
from vagent.nova.instance_files.judging import of_directory, of_files
from vagent.observe.event import Emit
from vagent.store.store import Changed
from vagent.store.worker import RunInThread
from vagent.transport.single_flight import SingleFlight

POLL = 2.0
"""Seconds between looks at the directory's own state, one `stat` call."""
POLLS = 15
"""After so many polls every file is looked at: 10,000 take some 30 ms in a thread."""
READ_AT_ONCE, READ_PAUSE = 20, 0.02
"""Files read as a whole one after another, and seconds until the next ones, so that the
reactor has the interpreter to itself for most of the time."""
MAX_KEPT = 256
"""Instances that are kept decoded: the guests of one host; the oldest makes room."""
ATTEMPTS = 3
"""Times that a file may turn out to be another instance's while it is read."""


@dataclass(frozen=True, slots=True)
class _Kept:
    path: Path
    state: FileState
    instance: Instance


class FileInstances:
    """Instances of a directory. `changed` is called for each instance that has another
    file than at the last look.
    """

    def __init__(
        self,
        path: Path,
        *,
        run_in_thread: RunInThread,
        emit: Emit,
        clock: IReactorTime,
        changed: Changed = lambda _uuid: None,
    ) -> None:
        self._path = path
        self._tell = changed
        self._run = run_in_thread
        self._emit = emit
        self._clock = clock
        self._directory = InstanceDirectory(path)
        self._found = Look({}, ())
        self._kept: dict[str, _Kept] = {}
        self._flight: SingleFlight[Any] = SingleFlight()
        self._seen: FileState | None = None
        self._looked = self._was_read = False
        self._again = False
        self._failure = ""
        self._reported: set[tuple[Path, str]] = set()
        self._polls = 0
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Look at the directory now, and then again and again. Raises StoreError where
        PyYAML is missing, which nothing else needs.
        """
        try:
            import_module("vagent.nova.instance_files.yaml_text")
        except ImportError as error:
            problem = f"{self._path}: instances as files need PyYAML: {error}"
            raise StoreError(problem) from error
        self._begin()
        self._timer = self._clock.callLater(POLL, self._poll)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    async def get(self, instance_id: str) -> Instance | None:
        """The instance, None where no file describes it. Raises StoreError where its
        file is no good and was never read when it still was, and while the directory
        was never read, when nobody can tell which instances have a file.
        """
        if not self._looked:
            await self._look()
        for _ in range(ATTEMPTS):
            file = self._found.files.get(instance_id)
            if file is None and _state(self._path) == self._seen:
                break
            instance = None if file is None else await self._instance(instance_id, file)
            if instance is not None:
                return instance
            await self._look()
        if not self._was_read:
            raise StoreError(f"{self._path}: {self._failure}")
        return None

    async def document(self, instance_id: str) -> Mapping[str, Any] | None:
        """The document of an instance as its file has it; None where there is no file.
        Raises StoreError where the file is no good.
        """
        file = await self.file_of(instance_id)
        if file is None:
            return None
        try:
            value: Mapping[str, Any] = await self._run(partial(load_value, file))
        except VagentError as error:
            raise StoreError(f"{file}: {error}") from None
        return value

    async def file_of(self, instance_id: str) -> Path | None:
        """The file of an instance; the directory is looked at first."""
        await self._look()
        if _state(self._path) != self._seen:  # that look had begun earlier
            await self._look()
        file = self._found.files.get(instance_id)
        return None if file is None else file.path

    def listing(self) -> list[dict[str, str]]:
        """UUID and path of each file, and its problem if it is no good. The directory
        itself is among them, without a UUID, where there is a problem with it.
        """
        found = {file.path: file for file in self._found.files.values()}
        found |= {file.path: file for file in self._found.refused}
        itself = {"uuid": "", "file": str(self._path), "problem": self._failure}
        return [itself][: bool(self._failure)] + [
            {"uuid": file.uuid, "file": str(file.path)}
            | ({"problem": file.problem} if file.problem else {})
            for file in sorted(found.values(), key=lambda file: file.path)
        ]

    def judgements(self) -> Iterator[Judgement]:
        """What is wrong with the directory and its files now."""
        yield from of_directory(self._path, self._failure, was_read=self._was_read)
        yield from of_files(self._path, self._found, self._kept)

    async def _instance(self, uuid: str, file: InstanceFile) -> Instance | None:
        """None where the file is another's now, or gone."""
        kept = self._kept.get(uuid)
        now = _state(file.path)
        if kept is not None and (kept.path, kept.state) == (file.path, now):
            return kept.instance
        if now is None and not self._failure and not file.path.is_symlink():
            return None
        state: FileState
        instance: Instance
        try:
            state, instance = await self._flight.run(
                file.path, lambda: self._run(partial(load, file.path))
            )
        except VagentError as error:
            self._begin()  # which reports it
            if kept is not None:
                return kept.instance
            raise StoreError(f"{file.path}: {error}") from None
        if instance.uuid != uuid:
            return None
        if state != file.state:
            self._begin()  # what is known of it, and was told, is out of date
        self._keep(file.path, state, instance)
        return instance

    def _keep(self, path: Path, state: FileState, instance: Instance) -> None:
        self._kept.pop(instance.uuid, None)
        if len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[instance.uuid] = _Kept(path, state, instance)

    def _poll(self) -> None:
        self._timer = self._clock.callLater(POLL, self._poll)
        self._polls += 1
        # Once more after a change: another one in the same tick of the clock would not
        # show.
        due = self._polls % POLLS == 0
        new = self._again or due or _state(self._path) != self._seen
        if new or self._in_place():
            self._begin()

    def _in_place(self) -> bool:
        """Was a file of the guests that asked last changed without the directory?"""
        files = [self._found.files.get(uuid) for uuid in self._kept]
        return any(file and _state(file.path) != file.state for file in files)

    def _begin(self) -> None:
        Deferred.fromCoroutine(self._look())

    async def _look(self) -> None:
        await self._flight.run(None, self._look_once)

    async def _look_once(self) -> None:
        self._seen = _state(self._path)
        self._again = False
        try:
            found = await self._run(self._directory.look)
        except (OSError, VagentError) as error:
            why = (
                f"cannot be read: {reason(error)}" if isinstance(error, OSError) else ""
            )
            self._fail(why or str(error))
            self._again = True  # what mends it need not show in the directory's state
            return
        else:
            self._was_read = True
            self._fail(found.problem)
            self._take(found)
        finally:
            self._looked = True
        if found.changed or found.removed:
            self._again = True
            count, path = len(found.files), str(self._path)
            event = InstanceFilesChanged(path, count, found.changed, found.removed)
            self._emit(event)
            Deferred.fromCoroutine(self._flight.run("rest", self._read_rest))

    async def _read_rest(self) -> None:
        some = partial(self._directory.read_some, READ_AT_ONCE)
        while await self._run(some):
            await deferLater(self._clock, READ_PAUSE)
            if self._timer is None:
                return
        self._take(await self._run(self._directory.known))

    def _take(self, found: Look) -> None:
        before, self._found = self._found, found
        if self._looked:  # at first all are new, and nobody waits yet
            for uuid in _differences(before.files, found.files):
                self._tell(uuid)
        problems = {(file.path, file.problem) for file in found.refused}
        for path, problem in sorted(problems - self._reported):
            self._emit(InstanceFileRefused(str(path), problem))
        self._reported = problems

    def _fail(self, problem: str) -> None:
        if problem and problem != self._failure:
            self._emit(InstanceDirectoryFailed(str(self._path), problem))
        self._failure = problem

    def __repr__(self) -> str:
        return f"<FileInstances {self._path}: {len(self._found.files)} instances>"


def _differences(
    old: Mapping[str, InstanceFile], new: Mapping[str, InstanceFile]
) -> list[str]:
    """The instances whose file is another one, or in another state."""
    return [
        uuid
        for uuid in old.keys() | new.keys()
        if (uuid in old) != (uuid in new)
        or (old[uuid].path, old[uuid].state) != (new[uuid].path, new[uuid].state)
    ]


def _state(path: Path) -> FileState | None:
    try:
        return state_of(path.stat())
    except OSError:
        return None
