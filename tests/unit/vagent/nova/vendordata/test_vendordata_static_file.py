"""The host's static vendor data follow their file, and survive a bad one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vagent.config.vendordata import MAX_STATIC
from vagent.errors import ConfigError
from vagent.nova.vendordata.events import StaticFileReloaded
from vagent.nova.vendordata.static_file import StaticFile
from vagent.observe.event import Event


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one member."""
    made = tmp_path / "static.json"
    made.write_text('{"a": 1}')
    return made


def test_no_file_is_an_empty_object() -> None:
    """As in a Nova without StaticJSON."""
    assert {} == StaticFile(None, list[Event]().append).content()


def test_a_changed_file_is_read_again(path: Path) -> None:
    """The next request has it."""
    events: list[Event] = []
    static = StaticFile(path, events.append)
    assert {"a": 1} == static.content()
    path.write_text('{"a": 2, "b": []}')
    assert {"a": 2, "b": []} == static.content()
    assert [StaticFileReloaded()] == events


@pytest.mark.parametrize("text", ["{", "[1]", "null", '"x"', "{" * 50])
def test_a_bad_change_leaves_the_old(path: Path, text: str) -> None:
    """It is reported once, and the mended file is taken."""
    events: list[Event] = []
    static = StaticFile(path, events.append)
    path.write_text(text)
    assert {"a": 1} == static.content() == static.content()
    (told,) = events
    assert isinstance(told, StaticFileReloaded)
    assert told.detail.startswith(f"{path}: ")
    path.write_text('{"a": 33}')
    assert {"a": 33} == static.content()


def test_a_file_that_is_gone_leaves_the_old(path: Path) -> None:
    """As one that is bad."""
    events: list[Event] = []
    static = StaticFile(path, events.append)
    path.unlink()
    assert {"a": 1} == static.content() == static.content()
    assert [
        StaticFileReloaded(f"{path}: cannot be read: No such file or directory")
    ] == events


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": ' + "[" * 40 + "]" * 40 + "}"])
def test_a_bad_file_at_the_start(path: Path, text: str) -> None:
    """The agent does not start with it, and the message names file and element."""
    path.write_text(text)
    with pytest.raises(ConfigError, match="vendordata/static-file") as caught:
        StaticFile(path, list[Event]().append)
    assert str(path) in str(caught.value)


def test_a_ceiling(path: Path) -> None:
    """256 KiB are read, and not a byte more."""
    filler = MAX_STATIC - len('{"a": ""}')
    path.write_text('{"a": "' + "x" * filler + '"}')
    assert filler == len(StaticFile(path, list[Event]().append).content()["a"])
    path.write_text('{"a": "' + "x" * (filler + 1) + '"}')
    with pytest.raises(ConfigError, match="too large; allowed: 262144 bytes"):
        StaticFile(path, list[Event]().append)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """Opening it would wait for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="not a regular file"):
        StaticFile(pipe, list[Event]().append)
