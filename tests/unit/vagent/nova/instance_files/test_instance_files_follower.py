"""Instances of a directory: what is asked for is what the file says now."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from vagent.errors import StoreError
from vagent.nova.instance import Instance
from vagent.nova.instance_files import directory, follower
from vagent.nova.instance_files.events import (
    InstanceDirectoryFailed,
    InstanceFileRefused,
    InstanceFilesChanged,
)
from vagent.nova.instance_files.follower import POLL, FileInstances
from vagent.observe.event import Event

TENANT = "7e000000000040008000000000000001"
T = TypeVar("T")


def uuid(number: int) -> str:
    return f"1a2b3c00-0000-4000-8000-{number:012}"


class Folder:
    """A directory that is followed, with a clock; the thread is this one, at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.mkdir()
        self.clock = Clock()
        self.events: list[Event] = []
        self.jobs = 0
        self.told: list[str] = []
        self.files = FileInstances(
            path,
            run_in_thread=self._run,
            emit=self.events.append,
            changed=self.told.append,
            clock=self.clock,
        )

    def _run(self, work: Callable[[], T]) -> Deferred[T]:
        self.jobs += 1
        return execute(work)

    def write(self, file: str, number: int, **more: Any) -> None:
        new = self.path / f".{file}"
        new.write_text(json.dumps({"uuid": uuid(number), "tenant_id": TENANT, **more}))
        new.rename(self.path / file)

    def get(self, number: int) -> Instance | None:
        found: list[Any] = []
        Deferred.fromCoroutine(self.files.get(uuid(number))).addBoth(found.append)
        if isinstance(found[0], Failure):
            found[0].raiseException()
        instance: Instance | None = found[0]
        return instance

    def name_of(self, number: int) -> str | None:
        instance = self.get(number)
        return None if instance is None else instance.name

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def read_all(self) -> None:
        for _ in range(100):
            self.clock.advance(follower.READ_PAUSE)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "instances")


def test_what_is_there_at_the_start(folder: Folder) -> None:
    """The first request waits for the first look, and nothing else."""
    folder.write("a.json", 1, name="web")
    assert "web" == folder.name_of(1)
    assert folder.name_of(2) is None
    assert "<FileInstances" in repr(folder.files)


def test_an_unchanged_file_is_not_read_again(folder: Folder) -> None:
    """Neither for its own guest, nor for a guest that no file is about."""
    folder.write("a.json", 1)
    folder.files.start()
    folder.read_all()
    folder.get(1)
    jobs = folder.jobs
    folder.get(1)
    folder.get(2)
    assert jobs == folder.jobs


def test_changes_are_seen_by_the_next_request(folder: Folder) -> None:
    """A new file, another content in place, another file in its place, a removal."""
    folder.files.start()
    assert folder.name_of(1) is None
    folder.write("a.json", 1, name="one")
    assert "one" == folder.name_of(1)
    text = json.dumps({"uuid": uuid(1), "tenant_id": TENANT, "name": "second"})
    (folder.path / "a.json").write_text(text)
    assert "second" == folder.name_of(1)
    folder.write("a.json", 1, name="third")
    assert "third" == folder.name_of(1)
    (folder.path / "a.json").rename(folder.path / "b.yaml")
    assert "third" == folder.name_of(1)
    (folder.path / "b.yaml").unlink()
    assert folder.name_of(1) is None


def test_a_file_that_becomes_another_guests(folder: Folder) -> None:
    """Its old guest has none any more, its new one has it."""
    folder.write("a.json", 1)
    assert folder.get(1)
    text = json.dumps({"uuid": uuid(2), "tenant_id": TENANT, "name": "two"})
    (folder.path / "a.json").write_text(text)
    assert folder.get(1) is None
    assert "two" == folder.name_of(2)


def test_a_file_that_breaks(folder: Folder) -> None:
    """What was read before stays in force, and the problem is told once."""
    folder.write("a.json", 1, name="good")
    folder.files.start()
    assert "good" == folder.name_of(1)
    (folder.path / "a.json").write_text('{"uuid": ')
    assert "good" == folder.name_of(1) == folder.name_of(1)
    folder.read_all()
    (event,) = folder.of(InstanceFileRefused)
    assert str(folder.path / "a.json") == event.path
    assert "line 1, column 10: not JSON: Expecting value" == event.problem
    assert event.is_fault()
    assert event.text() == f"{event.path}: {event.problem}"
    folder.write("a.json", 1, name="mended")
    assert "mended" == folder.name_of(1)


def test_a_file_that_never_was_good(folder: Folder) -> None:
    """An error, not "no such instance"; the others are served."""
    text = f'{{"uuid": "{uuid(1)}", "tenant_id": 5}}'
    (folder.path / "a.json").write_text(text)
    folder.write("b.json", 2, name="two")
    folder.files.start()
    with pytest.raises(StoreError, match=r"a\.json: line 1, column 63: instance\.ten"):
        folder.get(1)
    assert "two" == folder.name_of(2)


def test_problems_are_told_before_a_guest_asks(folder: Folder) -> None:
    """All files are read after the start, a few at a time."""
    many = 3 * follower.READ_AT_ONCE
    for number in range(many):
        folder.write(f"{number:03}.json", number, **({} if number % 9 else {"x": 1}))
    folder.files.start()
    assert not folder.of(InstanceFileRefused)
    folder.read_all()
    refused = folder.of(InstanceFileRefused)
    assert [f"{number:03}.json" for number in range(0, many, 9)] == [
        Path(event.path).name for event in refused
    ]
    (changed,) = folder.of(InstanceFilesChanged)
    assert (many, many, 0) == (changed.files, changed.changed, changed.removed)
    assert f"{many} instances, {many} new or changed, 0 removed" in changed.text()


def test_the_directory_is_looked_at_again(folder: Folder) -> None:
    """A new file within two seconds; one that was changed in place within thirty."""
    folder.write("a.json", 1)
    folder.files.start()
    folder.clock.pump([POLL] * 3)
    before = len(folder.of(InstanceFilesChanged))
    folder.write("b.json", 2)
    folder.clock.advance(POLL)
    assert before + 1 == len(folder.of(InstanceFilesChanged))
    text = json.dumps({"uuid": uuid(2), "tenant_id": TENANT, "nmae": "x"})
    (folder.path / "b.json").write_text(text)
    folder.clock.pump([POLL] * follower.POLLS)
    folder.read_all()
    assert 1 == len(folder.of(InstanceFileRefused))


def test_who_waits_for_a_change_is_told(folder: Folder) -> None:
    """Of new, changed, moved and removed files; not of those at the start."""
    for number in range(3):
        folder.write(f"{number}.json", number)
    folder.files.start()
    assert [] == folder.told
    folder.write("0.json", 0, name="changed")
    (folder.path / "1.json").rename(folder.path / "moved.json")
    (folder.path / "2.json").unlink()
    folder.write("new.json", 3)
    folder.clock.advance(POLL)
    assert [uuid(number) for number in range(4)] == sorted(folder.told)
    folder.clock.pump([POLL] * follower.POLLS)
    assert 4 == len(folder.told)


def test_a_file_written_in_place_is_told_at_the_next_poll(folder: Folder) -> None:
    """Of the guests that asked last: the directory's own state does not show it."""
    folder.write("a.json", 1)
    folder.files.start()
    folder.get(1)
    folder.clock.pump([POLL] * 3)
    text = json.dumps({"uuid": uuid(1), "tenant_id": TENANT, "name": "second"})
    (folder.path / "a.json").write_text(text)
    folder.clock.advance(POLL)
    assert [uuid(1)] == folder.told
    (folder.path / "a.json").unlink()
    folder.clock.pump([POLL] * 3)
    jobs = folder.jobs
    folder.clock.advance(POLL)
    assert jobs == folder.jobs


def test_operators_calls_look_first(folder: Folder) -> None:
    """Whether there is a file is known of this moment, not of the last poll."""
    folder.files.start()
    found: list[Any] = []
    folder.write("a.json", 1)
    Deferred.fromCoroutine(folder.files.file_of(uuid(1))).addCallback(found.append)
    (folder.path / "a.json").unlink()
    Deferred.fromCoroutine(folder.files.file_of(uuid(1))).addCallback(found.append)
    assert [folder.path / "a.json", None] == found


def test_a_link_that_leads_nowhere(folder: Folder) -> None:
    """An error for the guest whose file it was, and not "no such instance"."""
    folder.write(".target", 1)
    (folder.path / "a.json").symlink_to(".target")
    folder.files.start()
    (folder.path / ".target").unlink()
    with pytest.raises(StoreError, match="No such file"):
        folder.get(1)


def test_a_missing_yaml_module_is_found_at_the_start(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the first guest."""
    module = "vagent.nova.instance_files.yaml_text"
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StoreError, match="instances as files need PyYAML"):
        folder.files.start()


def test_a_change_in_the_same_tick_is_not_missed(folder: Folder) -> None:
    """After a change the directory is looked at once more, whatever its time says."""
    folder.files.start()
    folder.write("a.json", 1)
    folder.clock.advance(POLL)
    jobs = folder.jobs
    folder.clock.advance(POLL)
    assert jobs < folder.jobs
    jobs = folder.jobs
    folder.clock.advance(POLL)
    assert jobs == folder.jobs


def test_a_directory_that_vanishes(folder: Folder, tmp_path: Path) -> None:
    """It is told once; who was served is served still, until it is back."""
    folder.write("a.json", 1, name="one")
    folder.write("b.json", 2)
    folder.files.start()
    assert "one" == folder.name_of(1)
    folder.path.rename(tmp_path / "away")
    folder.clock.pump([POLL] * 3)
    (event,) = folder.of(InstanceDirectoryFailed)
    assert "cannot be read: No such file or directory" == event.problem
    assert event.is_fault()
    assert event.text() == f"{folder.path}: {event.problem}"
    assert "one" == folder.name_of(1)
    with pytest.raises(StoreError, match="No such file"):
        folder.get(2)
    assert folder.get(3) is None
    (judgement,) = folder.files.judgements()
    assert "files that were read before are served as they were" in judgement.text
    (tmp_path / "away").rename(folder.path)
    folder.clock.advance(POLL)
    assert folder.get(2)


@pytest.mark.parametrize("mode", [None, 0o777])
def test_a_directory_that_was_never_read(folder: Folder, mode: int | None) -> None:
    """Nobody can tell who has a file in it, so each guest gets an error; what is wrong
    is a judgement and in the listing. It is read as soon as it can be.
    """
    away = folder.path.with_name("away")
    folder.write("a.json", 1, name="one")
    problem = "everybody on this host may write in it: chmod o-w"
    if mode is None:
        folder.path.rename(away)
        problem = "cannot be read: No such file or directory"
    else:
        folder.path.chmod(mode)
    folder.files.start()
    for number in (1, 2):
        with pytest.raises(StoreError, match=re.escape(f"{folder.path}: {problem}")):
            folder.get(number)
    (judgement,) = folder.files.judgements()
    assert str(folder.path) == judgement.subject.id
    assert judgement.text.startswith(f"{problem}; it was not read since the agent")
    row = {"uuid": "", "file": str(folder.path), "problem": problem}
    assert [row] == folder.files.listing()
    if mode is None:
        away.rename(folder.path)
    else:
        folder.path.chmod(0o755)
    assert ("one", None) == (folder.name_of(1), folder.name_of(2))
    assert ([], 1) == ([*folder.files.judgements()], len(folder.files.listing()))


def test_a_failed_look_is_repeated(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every two seconds, though the state of the directory is the same."""

    def fail(_self: Any) -> None:
        raise OSError(5, "Input/output error")

    folder.write("a.json", 1)
    with monkeypatch.context() as broken:
        broken.setattr(directory.InstanceDirectory, "_states", fail)
        folder.files.start()
        folder.clock.pump([POLL] * 3)
        assert "Input/output" in next(folder.files.judgements()).text
    folder.clock.advance(POLL)
    assert [] == [*folder.files.judgements()]


def test_too_many_files(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory has a problem; the first files are served."""
    monkeypatch.setattr(directory, "MAX_FILES", 1)
    folder.write("a.json", 1)
    folder.write("b.json", 2)
    assert folder.get(1)
    assert folder.get(2) is None
    (event,) = folder.of(InstanceDirectoryFailed)
    assert "2 files; only the first 1 are served" == event.problem


def test_few_instances_are_kept(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest makes room, and is read again."""
    monkeypatch.setattr(follower, "MAX_KEPT", 2)
    for number in range(3):
        folder.write(f"{number}.json", number)
    for number in range(3):
        folder.get(number)
    jobs = folder.jobs
    folder.get(2)
    folder.get(1)
    assert jobs == folder.jobs
    folder.get(0)
    assert jobs + 1 == folder.jobs


def test_documents_and_listing(folder: Folder) -> None:
    """For the config API: the document as it is, every file, and what is wrong."""
    folder.write("b.json", 1, name="one")
    (folder.path / "a.json").write_text("[]")
    folder.files.start()
    folder.read_all()
    found: list[Any] = []
    for number in (1, 2):
        Deferred.fromCoroutine(folder.files.document(uuid(number))).addCallback(
            found.append
        )
    assert [{"uuid": uuid(1), "tenant_id": TENANT, "name": "one"}, None] == found
    broken, good = folder.files.listing()
    assert {"uuid": uuid(1), "file": str(folder.path / "b.json")} == good
    assert (
        "line 1, column 1: instance: got a list, allowed is an object"
        == broken["problem"]
    )
    (folder.path / "b.json").write_text("{")
    Deferred.fromCoroutine(folder.files.document(uuid(1))).addErrback(found.append)
    assert found[-1].check(StoreError)


def test_stop(folder: Folder) -> None:
    """Nothing is looked at any more."""
    folder.files.stop()
    folder.files.start()
    folder.write("a.json", 1)
    folder.files.stop()
    jobs = folder.jobs
    folder.clock.pump([POLL] * 40)
    assert jobs == folder.jobs
    assert [] == folder.clock.getDelayedCalls()
