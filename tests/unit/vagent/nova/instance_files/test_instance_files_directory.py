"""Which files there are: new, changed, removed, broken, unreadable."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vagent.errors import VagentError
from vagent.nova.instance_files import directory
from vagent.nova.instance_files.directory import (
    InstanceDirectory,
    Look,
    load,
    load_value,
    state_of,
)
from vagent.nova.instance_files.document import MAX_FILE, likely_uuid

TENANT = "7e000000000040008000000000000001"


def uuid(number: int) -> str:
    return f"1a2b3c00-0000-4000-8000-{number:012}"


def write(path: Path, number: int, **more: Any) -> None:
    """As a careful operator does: elsewhere, then renamed into place."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps({"uuid": uuid(number), "tenant_id": TENANT, **more}))
    new.rename(path)


def all_read(folder: InstanceDirectory) -> Look:
    while folder.read_some(2):
        pass
    return folder.known()


def names(found: Look) -> dict[str, str]:
    return {key: file.path.name for key, file in found.files.items()}


def problems(found: Look) -> dict[str, str]:
    return {file.path.name: file.problem for file in found.refused}


def test_files_of_every_form(tmp_path: Path) -> None:
    """JSON and YAML; names without the suffix or with a dot in front are left alone."""
    write(tmp_path / "a.json", 1)
    (tmp_path / "b.yaml").write_text(f"uuid: {uuid(2)}\ntenant_id: {TENANT}\n")
    (tmp_path / "c.yml").write_text(f"{{uuid: {uuid(3)}, tenant_id: {TENANT}}}")
    for other in (".d.json", "e.json~", "README"):
        (tmp_path / other).write_text("{}")
    folder = InstanceDirectory(tmp_path)
    found = folder.look()
    expected = {uuid(1): "a.json", uuid(2): "b.yaml", uuid(3): "c.yml"}
    assert (expected, 3, 0) == (names(found), found.changed, found.removed)
    assert {} == problems(all_read(folder))


def test_only_changes_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look reads nothing; one after a change reads that file."""
    for number in range(3):
        write(tmp_path / f"{number}.json", number)
    folder = InstanceDirectory(tmp_path)
    folder.look()
    all_read(folder)
    seen: list[str] = []

    def likely(name: str, content: bytes) -> str | None:
        seen.append(name)
        return likely_uuid(name, content)

    monkeypatch.setattr(directory, "likely_uuid", likely)
    assert (0, 0) == (folder.look().changed, folder.look().removed)
    write(tmp_path / "1.json", 7)
    (tmp_path / "2.json").unlink()
    found = folder.look()
    assert (1, 1, ["1.json"]) == (found.changed, found.removed, seen)
    assert {uuid(0): "0.json", uuid(7): "1.json"} == names(found)


def test_a_bad_file_leaves_the_others(tmp_path: Path) -> None:
    """Broken, half-written, empty, too large, a folder, a FIFO: each is named."""
    write(tmp_path / "good.json", 1)
    (tmp_path / "half.json").write_text(f'{{"uuid": "{uuid(2)}", "tenant')
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "large.json").write_bytes(b" " * (MAX_FILE + 1))
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "link.json").symlink_to("nowhere")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    folder = InstanceDirectory(tmp_path)
    folder.look()
    found = all_read(folder)
    assert {uuid(1): "good.json", uuid(2): "half.json"} == names(found)
    assert problems(found) == {
        "half.json": "line 1, column 50: not JSON: Unterminated string starting at",
        "empty.yaml": "line 1, column 1: there is no document",
        "large.json": f"too large; allowed: {MAX_FILE} bytes",
        "folder.json": "cannot be read: Is a directory",
        "fifo.json": "cannot be read: not a regular file",
        "link.json": "cannot be read: No such file or directory",
        "zero.json": "cannot be read: not a regular file",
    }


def test_a_fault_of_ours_marks_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised, the next files are read; the text may hold a document."""

    def fail(name: str, _content: bytes) -> Any:
        raise RuntimeError(name)

    write(tmp_path / "a.json", 1)
    write(tmp_path / "b.json", 2)
    folder = InstanceDirectory(tmp_path)
    folder.look()
    monkeypatch.setattr(directory, "read_instance", fail)
    problem = "the agent failed to read it: RuntimeError"
    assert {"a.json": problem, "b.json": problem} == problems(all_read(folder))


def test_a_file_that_breaks_stays_its_guests(tmp_path: Path) -> None:
    """Whatever is in it now, nobody else may answer for that guest."""
    write(tmp_path / "a.json", 1)
    folder = InstanceDirectory(tmp_path)
    folder.look()
    (tmp_path / "a.json").write_text("no JSON")
    assert {uuid(1): "a.json"} == names(folder.look())
    assert ["a.json"] == list(problems(folder.known()))
    write(tmp_path / "a.json", 1)
    folder.look()
    assert {} == problems(all_read(folder))


def test_a_wrong_guess_is_corrected(tmp_path: Path) -> None:
    """A text may look like the member; reading the file as a whole tells."""
    escaped = '"\\u0075uid"'
    (tmp_path / "a.yaml").write_text(
        f'name: "x\nuuid: {uuid(5)} "\ntenant_id: {TENANT}\n{escaped}: {uuid(6)}\n'
    )
    folder = InstanceDirectory(tmp_path)
    assert {uuid(5): "a.yaml"} == names(folder.look())
    assert {uuid(6): "a.yaml"} == names(all_read(folder))


def test_two_files_of_one_instance(tmp_path: Path) -> None:
    """The first by name counts; the other is named."""
    write(tmp_path / "b.json", 1)
    write(tmp_path / "a.json", 1)
    folder = InstanceDirectory(tmp_path)
    folder.look()
    found = all_read(folder)
    assert {uuid(1): "a.json"} == names(found)
    problem = "the same instance as a.json, which goes before it"
    assert {"b.json": problem} == problems(found)


def test_files_that_everybody_may_write(tmp_path: Path) -> None:
    """Such a file or directory is refused: it says what anybody wants it to say."""
    write(tmp_path / "a.json", 1)
    (tmp_path / "a.json").chmod(0o666)
    folder = InstanceDirectory(tmp_path)
    folder.look()
    expected = {"a.json": "everybody on this host may write it: chmod o-w"}
    assert expected == problems(all_read(folder))
    tmp_path.chmod(0o777)
    with pytest.raises(VagentError, match="everybody on this host may write in it"):
        folder.look()
    assert {uuid(1): "a.json"} == names(folder.known())


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """An error, and what was known is known still."""
    place = tmp_path / "instances"
    place.mkdir()
    write(place / "a.json", 1)
    folder = InstanceDirectory(place)
    folder.look()
    place.rename(tmp_path / "away")
    with pytest.raises(OSError, match="No such file"):
        folder.look()
    assert {uuid(1): "a.json"} == names(folder.known())


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first by name are served, and the directory has a problem."""
    monkeypatch.setattr(directory, "MAX_FILES", 2)
    for number in range(3):
        write(tmp_path / f"{number}.json", number)
    found = InstanceDirectory(tmp_path).look()
    assert {uuid(0): "0.json", uuid(1): "1.json"} == names(found)
    assert "3 files; only the first 2 are served" == found.problem


def test_load(tmp_path: Path) -> None:
    """An instance with the state of its file, or its document."""
    path = tmp_path / "a.json"
    write(path, 1, name="x")
    state, instance = load(path)
    assert (state_of(path.stat()), "x") == (state, instance.name)
    assert "x" == load_value(path)["name"]
    with pytest.raises(VagentError, match="cannot be read: No such file"):
        load(tmp_path / "b.json")
