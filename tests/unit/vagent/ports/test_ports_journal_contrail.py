"""Promises of vagent.ports.journal beside a folder of Contrail's tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from vagent.errors import StoreError
from vagent.observe.event import Event
from vagent.ports import journal as journal_module
from vagent.ports.codec import pretty
from vagent.ports.events import (
    ContrailFolderUnused,
    PortFilesGone,
    PortFileSkipped,
    PortJournalFailed,
)
from vagent.ports.journal import FileChanges, Journal
from vagent.ports.port import Registration

Make = Callable[..., Any]
IDENTITY = IPv4Address("169.254.64.11")


async def at_once(work: Callable[[], Any]) -> Any:
    """Stands for the thread."""
    return work()


class Host:
    """Both folders, Contrail's tool, and agents that come and go."""

    def __init__(self, folder: Path, body: Make, result: Make) -> None:
        self.ours = folder / "vagent/ports"
        self.theirs = folder / "contrail/ports"
        self.events: list[Event] = []
        self._body = body
        self._result = result

    def start(self) -> Journal:
        """A new agent's journal, not loaded yet."""
        return Journal(
            self.ours,
            run_in_thread=at_once,
            emit=self.events.append,
            contrail=self.theirs,
        )

    def restart(self) -> dict[str, str]:
        """A new agent: the taps of the ports that it finds, and they are saved."""
        journal = self.start()
        records = self._result(journal.load())
        new = [r for r in records if r.port.id in journal.unsaved or not r.identity]
        self._result(
            journal.write(
                [Registration(r.port, 11, r.identity or IDENTITY) for r in new]
            )
        )
        return {record.port.id: record.port.tap for record in records}

    def tool_adds(self, tap: str = "tap1", n: int = 1) -> str:
        """What vrouter-port-control does first: it writes over a file that is there."""
        port_id = f"00000000-0000-0000-0000-{n:012x}"
        members = self._body(id=port_id, system_name=tap, mac_address=f"02::::0:{n}")
        members["mac-address"] = f"02:00:00:00:00:{n:02x}"
        (self.theirs / port_id).write_text(json.dumps(members))
        return port_id

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def host(tmp_path: Path, body: Make, result: Make) -> Host:
    """A host on which Contrail's folder is a directory."""
    made = Host(tmp_path, body, result)
    made.theirs.mkdir(parents=True, mode=0o755)
    return made


@pytest.fixture
def one(port: Make) -> Registration:
    """A registration by the API alone."""
    return Registration(port(7), 11, IDENTITY)


def test_where_nothing_is_there_the_tool_writes_into_our_folder(
    tmp_path: Path, body: Make, result: Make
) -> None:
    """By the link, so that one folder holds the truth."""
    host = Host(tmp_path, body, result)
    assert {} == host.restart()
    port_id = host.tool_adds()
    assert (host.ours / port_id).exists()
    assert {port_id: "tap1"} == host.restart()
    (host.theirs / port_id).unlink()
    assert {} == host.restart()
    assert [] == host.events


def test_a_port_added_while_the_agent_was_away(host: Host) -> None:
    """It is registered at the start, and ours then has its identity."""
    port_id = host.tool_adds()
    assert {port_id: "tap1"} == host.restart()
    assert str(IDENTITY) == json.loads((host.ours / port_id).read_text())["mdata-ip"]
    assert {port_id: "tap1"} == host.restart()


def test_a_port_deleted_while_the_agent_was_away(
    host: Host, one: Registration, result: Make
) -> None:
    """It goes with its file; one that never had a file there stays."""
    port_id = host.tool_adds()
    host.restart()
    journal = host.start()
    result(journal.load())
    result(journal.write([one]))
    (host.theirs / port_id).unlink()
    assert {one.port.id: one.port.tap} == host.restart()
    assert [one.port.id] == [path.name for path in host.ours.iterdir()]
    (event,) = host.of(PortFilesGone)
    assert event.text().startswith("1 ports removed whose files went")
    assert {one.port.id: one.port.tap} == host.restart()


def test_a_port_changed_while_the_agent_was_away(host: Host, result: Make) -> None:
    """The tool's file counts, as it wrote it since; the identity stays."""
    port_id = host.tool_adds()
    host.restart()
    host.tool_adds("tap2")
    (record,) = result(host.start().load())
    assert ("tap2", IDENTITY) == (record.port.tap, record.identity)
    assert {port_id: "tap2"} == host.restart()


def test_a_port_changed_by_the_api_stays_changed(host: Host, result: Make) -> None:
    """Ours counts where the tool's file is the one that we knew: it may hold more,
    whatever the times of the files say.
    """
    port_id = host.tool_adds()
    host.restart()
    journal = host.start()
    (record,) = result(journal.load())
    changed = replace(record.port, tap="tap3")
    result(journal.write([Registration(changed, 11, IDENTITY)]))
    assert {port_id: "tap3"} == host.restart()
    assert {port_id: "tap3"} == host.restart()


def test_a_port_deleted_by_the_api_does_not_come_back(host: Host, result: Make) -> None:
    """Its file goes from both folders, or from none."""
    port_id = host.tool_adds()
    host.restart()
    journal = host.start()
    result(journal.load())
    (host.ours / port_id).rename(host.ours / "kept")
    (host.ours / port_id).mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        result(journal.delete([port_id]))
    assert (host.theirs / port_id).exists()
    (host.ours / port_id).rmdir()
    (host.ours / "kept").rename(host.ours / port_id)
    result(journal.delete([port_id]))
    assert [] == [*host.theirs.iterdir()]
    assert {} == host.restart()


def test_a_folder_that_vanishes_takes_no_port_along(host: Host) -> None:
    """Contrail's package is removed: ports stay, and the link is made. What the marks
    said is forgotten then.
    """
    port_id = host.tool_adds()
    host.restart()
    (host.theirs / port_id).unlink()
    host.theirs.rmdir()
    assert {port_id: "tap1"} == host.restart()
    assert host.theirs.is_symlink()
    assert "contrail-file" not in json.loads((host.ours / port_id).read_text())
    host.theirs.unlink()
    host.theirs.mkdir(mode=0o755)
    assert {port_id: "tap1"} == host.restart()


def test_a_folder_that_is_not_to_be_read_is_told(host: Host) -> None:
    """And no file of it is."""
    host.tool_adds()
    host.theirs.chmod(0o777)
    assert {} == host.restart()
    (event,) = host.of(ContrailFolderUnused)
    assert f"{host.theirs} is unsafe (every user may write in it)" in event.text()


def test_a_folder_that_cannot_be_listed_takes_no_port_along(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told."""
    port_id = host.tool_adds()
    host.restart()

    def refuse(_directory: Path) -> dict[str, str]:
        raise StoreError("Input/output error")

    monkeypatch.setattr(journal_module, "listing", refuse)
    assert {port_id: "tap1"} == host.restart()
    assert host.of(PortJournalFailed)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b"\xff", b'{"id": 7}', b"x" * 70_000]
)
def test_a_file_that_is_no_port_is_told_and_left(host: Host, content: bytes) -> None:
    """The port that we know of under this id stays."""
    port_id = host.tool_adds()
    host.restart()
    (host.theirs / port_id).write_bytes(content)
    assert {port_id: "tap1"} == host.restart()
    assert host.of(PortFileSkipped)
    assert content == (host.theirs / port_id).read_bytes()


def test_no_link_to_elsewhere_is_followed(host: Host, tmp_path: Path) -> None:
    """A file that is one is no port."""
    port_id = host.tool_adds()
    (host.theirs / port_id).rename(tmp_path / "secret")
    (host.theirs / port_id).symlink_to(tmp_path / "secret")
    assert {} == host.restart()
    assert host.of(PortFileSkipped)


def test_what_a_kill_left_behind_there_is_cleared(host: Host) -> None:
    """A deletion that was not finished; nothing else is touched."""
    name = host.tool_adds()
    (host.theirs / f".{name}.old").touch()
    (host.theirs / "vm").mkdir()
    host.restart()
    assert ["vm", name] == sorted((p.name for p in host.theirs.iterdir()), reverse=True)


def looked(host: Host, journal: Journal, result: Make) -> FileChanges:
    """One look at both folders."""
    found: FileChanges = result(journal.changes())
    return found


@pytest.mark.parametrize("is_ours", [True, False], ids=["ours", "theirs"])
def test_a_file_that_is_written_over_in_place_while_the_agent_runs(
    host: Host, result: Make, *, is_ours: bool
) -> None:
    """In either folder, which stays as it was: each time, also if it is broken first
    and then mended.
    """
    if is_ours:
        host.theirs.rmdir()
        host.restart()  # it makes the link
    name = host.tool_adds()
    journal = host.start()
    result(journal.load())
    for _ in range(3):
        assert FileChanges() == looked(host, journal, result)
    host.tool_adds(tap="tap22")
    (record,) = looked(host, journal, result).appeared
    assert "tap22" == record.port.tap
    (host.theirs / name).write_text("{")
    assert 1 == len(looked(host, journal, result).skipped)
    assert FileChanges() == looked(host, journal, result)
    host.tool_adds(tap="tap333")
    (record,) = looked(host, journal, result).appeared
    assert "tap333" == record.port.tap


def test_what_comes_and_goes_while_the_agent_runs(host: Host, result: Make) -> None:
    """In either folder, each once; what this journal wrote is no change."""
    journal = host.start()
    result(journal.load())
    port_id = host.tool_adds()
    (record,) = looked(host, journal, result).appeared
    assert port_id == record.port.id
    result(journal.write([Registration(record.port, 11, IDENTITY)]))
    assert FileChanges() == looked(host, journal, result)
    other = host.tool_adds(n=2)
    (host.theirs / other).rename(host.ours / other)
    (record,) = looked(host, journal, result).appeared
    assert other == record.port.id
    (host.theirs / port_id).unlink()
    (host.ours / other).unlink()
    assert FileChanges(gone=(port_id, other)) == looked(host, journal, result)
    result(journal.delete([port_id, other]))
    assert FileChanges() == looked(host, journal, result)


def test_a_look_at_one_folder_does_not_need_the_other(host: Host, result: Make) -> None:
    """Why one could not be looked at is said."""
    journal = host.start()
    result(journal.load())
    looked(host, journal, result)
    host.theirs.rmdir()
    (host.ours / "00000000-0000-0000-0000-000000000009").write_bytes(pretty({}))
    found = looked(host, journal, result)
    assert [f"{host.theirs}: No such file or directory"] == list(found.failures)
    assert 1 == len(found.skipped)
    assert () == found.gone
