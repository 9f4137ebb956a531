"""Promises of vagent.ports.journal: whole files or none; nothing crashes a start."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from vagent.errors import StoreError
from vagent.observe.event import Event
from vagent.ports.codec import encode_record, pretty
from vagent.ports.events import PortFileSkipped
from vagent.ports.journal import Journal
from vagent.ports.port import Registration
from vagent.ports.port_files import MAX_FILE

Make = Callable[..., Any]


async def at_once(work: Callable[[], Any]) -> Any:
    """Stands for the thread."""
    return work()


@pytest.fixture
def events() -> list[Event]:
    """What the journal emitted."""
    return []


@pytest.fixture
def journal(tmp_path: Path, events: list[Event]) -> Journal:
    """A journal in a folder that is not there yet."""
    return Journal(
        tmp_path / "state" / "ports", run_in_thread=at_once, emit=events.append
    )


@pytest.fixture
def one(port: Make) -> Registration:
    """A registration."""
    return Registration(port(1), 11, IPv4Address("169.254.64.11"))


@pytest.fixture
def two(port: Make) -> Registration:
    """Another."""
    return Registration(port(2), 12, IPv4Address("169.254.64.12"))


def names(journal: Journal) -> list[str]:
    return sorted(path.name for path in journal.directory.iterdir())


def test_what_is_written_is_read_back(
    journal: Journal, one: Registration, two: Registration, result: Make
) -> None:
    """Port and identity, in order of id."""
    result(journal.write([two, one]))
    records = result(journal.load())
    assert [(r.port, r.identity) for r in records] == [
        (one.port, one.identity),
        (two.port, two.identity),
    ]


def test_an_empty_start(journal: Journal, result: Make) -> None:
    """The folder is made, closed to others, and holds nothing."""
    assert result(journal.load()) == ()
    assert journal.directory.stat().st_mode & 0o007 == 0


def test_files_are_named_by_uuid_and_nothing_else_stays(
    journal: Journal, one: Registration, result: Make
) -> None:
    """Contrail's layout; no temporary file, not open to others."""
    result(journal.write([one]))
    assert names(journal) == [one.port.id]
    path = journal.directory / one.port.id
    assert path.read_bytes() == encode_record(one)
    assert path.stat().st_mode & 0o007 == 0


def test_a_file_of_vrouter_port_control_is_overwritten(
    journal: Journal, one: Registration, body: Make, result: Make
) -> None:
    """It writes the file first, then calls: afterwards the file names the identity."""
    journal.directory.mkdir(parents=True)
    (journal.directory / one.port.id).write_bytes(pretty(body()))
    result(journal.write([one]))
    [record] = result(journal.load())
    assert record.identity == one.identity


def test_nothing_to_write_touches_nothing(journal: Journal, result: Make) -> None:
    """An empty array is fine."""
    result(journal.write([]))
    assert not journal.directory.exists()


def test_delete_removes_and_does_not_mind_absence(
    journal: Journal, one: Registration, two: Registration, result: Make
) -> None:
    """vrouter-port-control removes the file before it calls."""
    result(journal.delete([one.port.id]))
    result(journal.write([one, two]))
    result(journal.delete([one.port.id, one.port.id]))
    assert names(journal) == [two.port.id]


def test_a_delete_that_fails_removes_nothing(
    journal: Journal, one: Registration, two: Registration, result: Make
) -> None:
    """The file that does not go is named; those before and after it are there."""
    result(journal.write([one]))
    (journal.directory / two.port.id).mkdir()
    with pytest.raises(StoreError, match=f"{two.port.id}: Is a directory"):
        result(journal.delete([one.port.id, two.port.id]))
    assert sorted([one.port.id, two.port.id]) == names(journal)
    assert encode_record(one) == (journal.directory / one.port.id).read_bytes()


@pytest.mark.parametrize("fault", ["rename", "fsync"])
def test_a_delete_is_durable_or_an_error(
    journal: Journal,
    one: Registration,
    two: Registration,
    result: Make,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """Where the disk does not take it, the files are as they were."""
    result(journal.write([one, two]))
    before = [(journal.directory / name).read_bytes() for name in names(journal)]

    def fail(*_args: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    if fault == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        calls: list[Path] = []

        def rename_once(path: Path, target: Path) -> Path:
            calls.append(path)
            if len(calls) == 2:
                fail()
            os.rename(path, target)  # noqa: PTH104  what is replaced here
            return target

        monkeypatch.setattr(Path, "rename", rename_once)
    with pytest.raises(StoreError, match="Input/output error"):
        result(journal.delete([one.port.id, two.port.id]))
    monkeypatch.undo()
    assert before == [(journal.directory / n).read_bytes() for n in names(journal)]
    result(journal.delete([one.port.id, two.port.id]))
    assert [] == names(journal)


def test_a_replacement_is_durable_or_undone(
    journal: Journal,
    one: Registration,
    two: Registration,
    result: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the names in the folder do not get to the disk, the old file is back, and
    what is new is gone."""
    result(journal.write([one]))
    real = os.fsync
    changed = Registration(one.port, 99, IPv4Address("169.254.64.99"))

    def fail_for_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    with pytest.raises(StoreError, match="Input/output error"):
        result(journal.write([changed, two]))
    monkeypatch.undo()
    assert [one.port.id] == names(journal)
    assert encode_record(one) == (journal.directory / one.port.id).read_bytes()
    result(journal.write([changed, two]))
    assert sorted([one.port.id, two.port.id]) == names(journal)
    assert encode_record(changed) == (journal.directory / one.port.id).read_bytes()


@pytest.mark.parametrize("fault", ["write", "fsync", "rename"])
def test_a_full_disk_leaves_nothing_behind(
    journal: Journal,
    one: Registration,
    two: Registration,
    result: Make,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """Whatever fails for the second of two files, neither appears, and no part."""
    result(journal.load())
    calls: list[Any] = []

    def fail_second(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            if len(calls) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **kwargs)

        return call

    if fault == "write":
        monkeypatch.setattr(os, "fdopen", fail_second(os.fdopen))
    elif fault == "fsync":
        monkeypatch.setattr(os, "fsync", fail_second(os.fsync))
    else:
        monkeypatch.setattr(Path, "rename", fail_second(Path.rename))
    with pytest.raises(StoreError) as caught:
        result(journal.write([one, two]))
    # Files are synced at the same time: either may be the second.
    named = [two, one] if fault == "fsync" else [two]
    assert str(caught.value) in [
        f"Writing of Json string to file failed for {each.port.id}: "
        f"{journal.directory}: No space left on device"
        for each in named
    ]
    monkeypatch.undo()
    assert names(journal) == []


def test_a_failed_replacement_keeps_the_old_file(
    journal: Journal, one: Registration, result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was durable stays so."""
    result(journal.write([one]))

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError):
        result(
            journal.write([Registration(one.port, 99, IPv4Address("169.254.64.99"))])
        )
    monkeypatch.undo()
    [record] = result(journal.load())
    assert record.identity == one.identity


def test_what_a_kill_left_behind_is_cleared(
    journal: Journal, one: Registration, result: Make
) -> None:
    """Half a temporary file is no port, nor is a removed one; they do not pile up."""
    journal.directory.mkdir(parents=True)
    (journal.directory / f".{one.port.id}.tmp").write_bytes(encode_record(one)[:40])
    (journal.directory / f".{one.port.id}.old").write_bytes(encode_record(one))
    assert result(journal.load()) == ()
    assert names(journal) == []


def test_other_names_are_none_of_our_business(
    journal: Journal, one: Registration, result: Make, events: list[Event]
) -> None:
    """Contrail ignores them too; `vm` is its folder for containers."""
    journal.directory.mkdir(parents=True)
    (journal.directory / "vm").mkdir()
    for name in ("README", one.port.id.upper().replace("0", "A"), ".x.tmp"):
        (journal.directory / name).write_text("{}")
    assert result(journal.load()) == ()
    assert len(names(journal)) == 4
    assert events == []


def test_files_that_cannot_be_ports_are_skipped_with_a_reason(
    journal: Journal, one: Registration, two: Registration, result: Make,
    events: list[Event], tmp_path: Path,
) -> None:  # fmt: skip
    """Links, folders, pipes, giants, junk and strangers: reported, left, survived."""
    result(journal.write([one, two]))
    outside = tmp_path / "secret"
    outside.write_bytes(encode_record(one))
    good = journal.directory / one.port.id

    def path(n: int) -> Path:
        return journal.directory / f"99999999-0000-0000-0000-{n:012x}"

    path(0).symlink_to(outside)
    path(1).mkdir()
    os.mkfifo(path(2))
    path(3).write_bytes(b" " * (MAX_FILE + 1))
    path(4).write_bytes(b"")
    path(5).write_bytes(b"\xff\xfe")
    path(6).write_bytes(b"[]")
    path(7).write_bytes(good.read_bytes())
    path(8).symlink_to(tmp_path / "nowhere")
    records = result(journal.load())
    assert [r.port for r in records] == [one.port, two.port]
    skipped = [e for e in events if isinstance(e, PortFileSkipped)]
    assert [Path(e.path) for e in skipped] == [path(n) for n in range(9)]
    assert [e.detail for e in skipped] == [
        "Too many levels of symbolic links",
        "not a regular file",
        "not a regular file",
        f"{MAX_FILE + 1} bytes, at most {MAX_FILE}",
        "Invalid Json string ==> Expecting value at line 1 column 1",
        "Invalid Json string ==> not UTF-8 at byte 0",
        "Unexpected Json string ==> not an object",
        f"holds port {one.port.id}",
        "Too many levels of symbolic links",
    ]
    assert len(names(journal)) == 11


@pytest.mark.parametrize("size", [MAX_FILE - 1, MAX_FILE])
def test_the_largest_file(
    journal: Journal, one: Registration, result: Make, size: int
) -> None:
    """n-1 and n bytes are read; n+1 is above."""
    journal.directory.mkdir(parents=True)
    content = encode_record(one)
    padded = content + b" " * (size - len(content))
    (journal.directory / one.port.id).write_bytes(padded)
    assert len(result(journal.load())) == 1


def test_a_folder_that_cannot_be_made_is_an_error(
    tmp_path: Path, result: Make, one: Registration
) -> None:
    """The agent must not run without a memory, and says where it wanted one."""
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "ports", run_in_thread=at_once, emit=print)
    with pytest.raises(StoreError, match="file/ports: Not a directory"):
        result(journal.load())
    with pytest.raises(StoreError, match="Not a directory"):
        result(journal.write([one]))


def test_repr_names_the_folder(journal: Journal) -> None:
    """For logs."""
    assert repr(journal) == f"<Journal {journal.directory}>"
