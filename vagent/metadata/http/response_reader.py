"""Reads an upstream's response: bytes → head, content, end. No I/O.

httptools checks the grammar of the fields. The upstream belongs to the cloud but may be
broken or taken over, so it is read as strictly as a guest: two lengths, a bare CR or
LF, an oversized head or a transfer coding other than `chunked` raise WireError, and the
connection that sent them is never used again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

from vagent.errors import WireError
from vagent.metadata.http.chunked import Chunked
from vagent.metadata.http.headers import BODILESS, HOP_BY_HOP, INSTANCE_FIELD, tokens
from vagent.metadata.limits import (
    MAX_INTERIM_REPLIES,
    MAX_REPLY_BODY,
    MAX_REPLY_HEAD,
)

_END = b"\r\n\r\n"
"""The end of a head."""
_LINE = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?", re.DOTALL
)


@dataclass(slots=True)
class ResponseHead:
    """The head of a final response (200 and above).

    `fields` are the lines to relay, without length and framing. `length` is the
    Content-Length, None if there is none; for HEAD it is relayed though no body
    follows. `persistent`: the connection can carry another request afterwards.
    `awaits_instance`: the embedded server does not know the instance, whatever the path
    (`INSTANCE_FIELD`). `rendered` belongs to the response writer, which remembers here
    what a guest usually gets of this head: heads are shared by responses that differ
    only in their body. `body_length` is that of the response to any request but HEAD,
    -1 where the head alone does not tell it.
    """

    status: int
    fields: bytes
    length: int | None
    chunked: bool
    persistent: bool
    awaits_instance: bool = False
    rendered: bytes = field(init=False, default=b"", compare=False, repr=False)
    body_length: int = field(init=False, default=-1, compare=False, repr=False)

    def __post_init__(self) -> None:
        is_final = self.status >= 200 and self.status not in BODILESS
        if is_final and not self.chunked and self.length is not None:
            self.body_length = self.length


class _Fields:
    """Receives llhttp's call-backs."""

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
    chunked = awaits_instance = False
    relayed = []
    nominated: frozenset[bytes] = frozenset()
    for name, value in pairs:
        lower = name.lower()
        if lower == b"content-length":
            length = _length(value.rstrip(b" \t"))
        elif lower == b"transfer-encoding":
            is_known = value.strip(b" \t").lower() == b"chunked"
            if not is_known or not persistent or chunked:
                raise WireError("transfer coding that nobody asked for")
            chunked = True
        elif lower == b"connection":
            nominated |= tokens(value)
        elif lower == INSTANCE_FIELD:
            awaits_instance = True
        elif lower not in HOP_BY_HOP:
            relayed.append((lower, name, value))
    if nominated:
        relayed = [field for field in relayed if field[0] not in nominated]
        keeps = b"close" not in nominated and (persistent or b"keep-alive" in nominated)
    else:
        keeps = persistent
    fields = b"".join([b"%b: %b\r\n" % (name, value) for _, name, value in relayed])
    return ResponseHead(status, fields, length, chunked, keeps, awaits_instance)


def _length(digits: bytes) -> int:
    if len(digits) > 15 or not digits.isdigit() or int(digits) > MAX_REPLY_BODY:
        raise WireError(f"reply body above {MAX_REPLY_BODY} bytes")
    return int(digits)


class ResponseReader:
    """Reads the responses on one connection, one after another.

    Call `begin` for each request, then `feed` with what arrives. After the end
    `reusable` says whether the connection can carry another request: not if bytes came
    behind the response, which are dropped, as they are if they come later. `parse`
    reads a whole head, as `parse_response_head`.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_head_only",
        "_interim",
        "_left",
        "_parse",
        "_tail",
        "head",
        "reusable",
        "started",
    )

    def __init__(self, parse: Callable[[bytes], ResponseHead]) -> None:
        self._parse = parse
        self.begin(head_only=False)

    def begin(self, *, head_only: bool) -> None:
        """A new request was sent; `head_only` if it is a HEAD."""
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
        """Content that arrived, and whether the response is complete.

        `head` is set before. Raises WireError when the bytes are no valid response;
        then the connection is of no more use.
        """
        self.started = True
        if self.head is None:
            if self._tail:
                data = self._tail + data
            end = data.find(_END, 0, MAX_REPLY_HEAD) + 4
            head = self._parse(data[:end]) if end > 3 else None
            if (
                head is not None
                and head.body_length == len(data) - end
                and not self._head_only
            ):
                # A whole response in one piece, as most are.
                self.head, self._left = head, 0
                self.reusable = head.persistent
                return data[end:], True
            rest = self._read_heads(head, data, end)
            if rest is None:
                return b"", False
            data = rest
        return self._read_body(self.head, data)

    def end_of_input(self) -> bool:
        """The upstream closed: does that complete a response without a length?"""
        return (
            self.head is not None
            and self._left is None
            and self._chunked is None
            and not self.head.chunked
        )

    def _read_heads(
        self, head: ResponseHead | None, data: bytes, end: int
    ) -> bytes | None:
        """Read on behind interim responses, from the first head on, which ends at
        `end`. What follows the final head; None: it is not complete.
        """
        while head is not None:
            data = data[end:]
            if head.status >= 200:
                self._tail = b""
                self._choose_framing(head)
                return data
            self._interim += 1
            if head.status == 101 or self._interim > MAX_INTERIM_REPLIES:
                raise WireError("interim replies that nobody asked for")
            end = data.find(_END, 0, MAX_REPLY_HEAD) + 4
            head = self._parse(data[:end]) if end > 3 else None
        if len(data) >= MAX_REPLY_HEAD:
            raise WireError(f"reply head above {MAX_REPLY_HEAD} bytes")
        self._tail = data
        return None

    def _choose_framing(self, head: ResponseHead) -> None:
        self.head = head
        if self._head_only or head.status in BODILESS:
            self._left = 0
        elif head.chunked:
            self._chunked = Chunked()
        else:
            self._left = head.length

    def _read_body(self, head: ResponseHead | None, data: bytes) -> tuple[bytes, bool]:
        if self._left is not None:
            left = self._left
            self._left = left - len(data)
            if self._left > 0:
                return data, False
            if self._left < 0:
                return data[:left], True
            self.reusable = head is not None and head.persistent
            return data, True
        if self._chunked is not None:
            content = self._chunked.feed(data)
            ended = self._chunked.rest is not None
        else:
            content, ended = data, False
        self._body += len(content)
        if self._body > MAX_REPLY_BODY:
            raise WireError(f"reply body above {MAX_REPLY_BODY} bytes")
        is_exact = self._chunked is not None and self._chunked.rest == b""
        self.reusable = is_exact and head is not None and head.persistent
        return content, ended
