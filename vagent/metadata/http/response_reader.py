"""An upstream's reply: bytes → head, content, end. Sans-I/O; httptools checks grammar.

The upstream is ours but may be broken or taken over, so the same strictness holds:
two lengths, a bare CR or LF, an oversized head or a coding that we did not ask for is
a WireError, and the connection that sent it is never used again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import httptools

from vagent.errors import WireError
from vagent.metadata.http.chunked import Chunked
from vagent.metadata.http.headers import HOP_BY_HOP, tokens
from vagent.metadata.limits import (
    MAX_INTERIM_REPLIES,
    MAX_REPLY_BODY,
    MAX_REPLY_HEAD,
)

_LINE = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?", re.DOTALL
)
_BODILESS = frozenset((204, 304))


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A final reply head. `fields` are the lines to relay, without length or framing.

    `length` is the announced content length, None if there is none; with HEAD it is
    relayed although no body follows. `front`: see `answers.front_of`; empty if nobody
    has rendered it.
    """

    status: int
    fields: bytes
    length: int | None
    chunked: bool
    persistent: bool
    front: bytes = b""


class _Fields:
    __slots__ = ("on_header", "pairs")

    def __init__(self) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []
        pairs = self.pairs
        self.on_header = lambda name, value: pairs.append((name, value))


def parse_response_head(head: bytes) -> ResponseHead:
    """A whole head, its empty line included. Raises WireError."""
    line = _LINE.fullmatch(head, 0, head.find(b"\r\n"))
    if line is None:
        raise WireError("malformed status line")
    fields = _Fields()
    try:
        httptools.HttpResponseParser(fields).feed_data(head)
    except httptools.HttpParserUpgrade as error:
        raise WireError("upgrade that nobody asked for") from error
    except httptools.HttpParserError as error:
        raise WireError(f"malformed reply head: {error}") from error
    return _head(int(line[2]), line[1] == b"1", fields.pairs)


def _head(
    status: int, persistent: bool, pairs: list[tuple[bytes, bytes]]
) -> ResponseHead:
    length = None
    chunked = False
    relayed = []
    nominated: frozenset[bytes] = frozenset()
    for name, value in pairs:
        lower = name.lower()
        if lower == b"content-length":
            length = _length(value.rstrip(b" \t"))
        elif lower == b"transfer-encoding":
            if value.strip(b" \t").lower() != b"chunked" or not persistent:
                raise WireError("transfer coding that nobody asked for")
            chunked = True
        elif lower == b"connection":
            nominated |= tokens(value)
        elif lower not in HOP_BY_HOP:
            relayed.append((lower, name, value))
    if nominated:
        relayed = [field for field in relayed if field[0] not in nominated]
        keeps = b"close" not in nominated and (persistent or b"keep-alive" in nominated)
    else:
        keeps = persistent
    fields = b"".join([b"%b: %b\r\n" % (name, value) for _, name, value in relayed])
    return ResponseHead(status, fields, length, chunked, keeps)


def _length(digits: bytes) -> int:
    if len(digits) > 15 or not digits.isdigit() or int(digits) > MAX_REPLY_BODY:
        raise WireError(f"reply body above {MAX_REPLY_BODY} bytes")
    return int(digits)


class HeadParser(Protocol):
    """Reads reply heads; see `heads`."""

    def parse(self, head: bytes) -> ResponseHead:
        """As `parse_response_head`."""


class ResponseReader:
    """Reads the replies of one connection, one request at a time.

    `begin` for each request; `feed` gives what arrived; after the end, `reusable`
    tells whether the connection may carry another request.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_head_only",
        "_heads",
        "_interim",
        "_left",
        "_tail",
        "head",
        "reusable",
        "started",
    )

    def __init__(self, heads: HeadParser) -> None:
        self._heads = heads
        self.begin(head_only=False)

    def begin(self, *, head_only: bool) -> None:
        """The next bytes answer a new request; `head_only` if it is a HEAD."""
        self._head_only = head_only
        self._tail = b""
        self._interim = 0
        self._left: int | None = None
        self._chunked: Chunked | None = None
        self._body = 0
        self.head: ResponseHead | None = None
        self.reusable = False
        self.started = False

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Content that arrived, and whether the reply is complete. `head` is set first.

        Raises WireError when the bytes are no reply; then the connection is spent.
        """
        self.started = True
        if self.head is None:
            rest = self._read_head(self._tail + data if self._tail else data)
            if rest is None:
                return b"", False
            data = rest
        return self._read_body(self.head, data)

    def end_of_input(self) -> bool:
        """The upstream closed: is that the end of a complete, close-delimited reply?"""
        return (
            self.head is not None
            and self._left is None
            and self._chunked is None
            and not self.head.chunked
        )

    def _read_head(self, data: bytes) -> bytes | None:
        while True:
            end = data.find(b"\r\n\r\n", 0, MAX_REPLY_HEAD)
            if end < 0:
                if len(data) >= MAX_REPLY_HEAD:
                    raise WireError(f"reply head above {MAX_REPLY_HEAD} bytes")
                self._tail = data
                return None
            head = self._heads.parse(data[: end + 4])
            data = data[end + 4 :]
            if head.status >= 200:
                self._tail = b""
                self._choose_framing(head)
                return data
            self._interim += 1
            if head.status == 101 or self._interim > MAX_INTERIM_REPLIES:
                raise WireError("interim replies that nobody asked for")

    def _choose_framing(self, head: ResponseHead) -> None:
        self.head = head
        if self._head_only or head.status in _BODILESS:
            self._left = 0
        elif head.chunked:
            self._chunked = Chunked()
        else:
            self._left = head.length

    def _read_body(self, head: ResponseHead | None, data: bytes) -> tuple[bytes, bool]:
        if self._left is not None:
            self._left -= len(data)
            if self._left > 0:
                return data, False
            if self._left < 0:
                raise WireError("bytes after the end of the reply")
            self.reusable = head is not None and head.persistent
            return data, True
        if self._chunked is not None:
            content = self._chunked.feed(data)
            if self._chunked.rest:
                raise WireError("bytes after the end of the reply")
            ended = self._chunked.rest is not None
        else:
            content, ended = data, False
        self._body += len(content)
        if self._body > MAX_REPLY_BODY:
            raise WireError(f"reply body above {MAX_REPLY_BODY} bytes")
        self.reusable = ended and head is not None and head.persistent
        return content, ended
