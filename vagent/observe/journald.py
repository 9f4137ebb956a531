"""Lines with fields of their own, for journald.

Its native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/): a datagram has one
entry, a field a line. What it does not take goes to standard error, where it gets the
text all the same.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import TextIO

SOCKET = "/run/systemd/journal/socket"


def journal_behind(
    stream: TextIO, environment: Mapping[str, str], *, path: str = SOCKET
) -> JournalSocket | None:
    """The journal, where this stream leads to it: systemd says in JOURNAL_STREAM to
    which file it has connected it (systemd.exec(5)).
    """
    told = environment.get("JOURNAL_STREAM", "")
    if not told:
        return None
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    return JournalSocket(path) if told == f"{found.st_dev}:{found.st_ino}" else None


class JournalSocket:
    """Sends entries, and never waits."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, entry: Mapping[str, str]) -> bool:
        """Whether journald has taken the entry: text by names of fields."""
        try:
            self._socket.sendto(encode(entry), self._path)
        except OSError:
            return False
        return True


def encode(entry: Mapping[str, str]) -> bytes:
    """The datagram. A text with line ends is preceded by its length instead of `=`."""
    return b"".join(_field(name.encode(), text) for name, text in entry.items())


def _field(name: bytes, text: str) -> bytes:
    value = text.encode("utf-8", "replace")
    if b"\n" not in value:
        return name + b"=" + value + b"\n"
    return name + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
