"""Promises of vagent.observe.journald."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from vagent.observe.journald import JournalSocket, encode, journal_behind


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    """Something that listens as journald does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "s"))
        made.settimeout(10)
        yield made


def close(journal: JournalSocket) -> None:
    journal._socket.close()


def test_an_entry_is_a_datagram(journald: socket.socket) -> None:
    """A field a line, as systemd describes it."""
    journal = JournalSocket(str(journald.getsockname()))
    assert journal.send({"MESSAGE": "hällo=1", "PRIORITY": "4"})
    close(journal)
    assert "MESSAGE=hällo=1\nPRIORITY=4\n".encode() == journald.recv(1000)


def test_no_text_can_make_a_field() -> None:
    """One with line ends is counted; what UTF-8 has no form for becomes `?`."""
    assert b"M\n\x06\0\0\0\0\0\0\0a\nPI=1\n" == encode({"M": "a\nPI=1"})
    assert b"M=?\n" == encode({"M": "\ud800"})


def test_where_nobody_listens_it_is_not_sent(tmp_path: Path) -> None:
    """So that the caller can tell it elsewhere."""
    journal = JournalSocket(str(tmp_path / "nobody"))
    assert not journal.send({"MESSAGE": "x"})
    close(journal)


def test_it_never_waits(journald: socket.socket) -> None:
    """A journald that is stuck holds up no guest."""
    journal = JournalSocket(str(journald.getsockname()))
    taken = [journal.send({"MESSAGE": "x" * 4000}) for _ in range(1000)]
    close(journal)
    assert taken[0]
    assert not taken[-1]


def test_the_stream_must_be_the_one_that_systemd_connected(tmp_path: Path) -> None:
    """By device and inode; an agent that is started by hand writes lines, though
    systemd's variable is inherited.
    """
    path = str(tmp_path / "s")
    with (tmp_path / "log").open("w") as stream:
        found = os.fstat(stream.fileno())
        name = f"{found.st_dev}:{found.st_ino}"
        journal = journal_behind(stream, {"JOURNAL_STREAM": name}, path=path)
        assert journal is not None
        assert path == journal._path
        close(journal)
        for other in ({}, {"JOURNAL_STREAM": f"{name}0"}, {"JOURNAL_STREAM": "x"}):
            assert journal_behind(stream, other, path=path) is None
    assert journal_behind(StringIO(), {"JOURNAL_STREAM": name}) is None
    assert journal_behind(stream, {"JOURNAL_STREAM": name}) is None
