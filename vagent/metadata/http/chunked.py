"""Decodes the chunked transfer coding (RFC 9112 §7.1), strictly. Pure.

Used for guests' requests and for upstreams' responses. Trailers are checked and
dropped, extensions are checked and ignored, blanks around their parts included.
"""

from __future__ import annotations

import re

from vagent.errors import WireError
from vagent.metadata.limits import MAX_CHUNK_LINE, MAX_TRAILERS

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SIZE = re.compile(
    rb"([0-9A-Fa-f]{1,8})"
    rb"(?:[\t ]*;[\t ]*" + _TOKEN + rb"(?:[\t ]*=[\t ]*(?:" + _TOKEN + rb"|"
    rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"))?)*'
)
_TRAILER = re.compile(rb"(" + _TOKEN + rb"):[\t\x20-\x7e\x80-\xff]*")
_FORBIDDEN_TRAILERS = frozenset((b"content-length", b"host", b"transfer-encoding"))


class Chunked:
    """Decodes one chunked body.

    `rest` is None until the body is complete, then the bytes that follow it.
    """

    __slots__ = ("_in_trailers", "_left", "_tail", "_trailer_bytes", "rest")

    def __init__(self) -> None:
        self._tail = b""
        # Bytes of the chunk to come; 0: the CRLF after it; None: a line comes next.
        self._left: int | None = None
        self._in_trailers = False
        self._trailer_bytes = 0
        self.rest: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        """Decode what arrived. Raises WireError when it breaks the coding."""
        data = self._tail + data
        pieces: list[bytes] = []
        at = 0
        while self.rest is None and at < len(data):
            if self._left is None:
                after = self._line(data, at)
            elif self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                self._left -= len(piece)
                after = at + len(piece)
            else:
                after = self._end_of_chunk(data, at)
            if after == at:
                break
            at = after
        self._tail = data[at:] if self.rest is None else b""
        return b"".join(pieces)

    def _end_of_chunk(self, data: bytes, at: int) -> int:
        end = data[at : at + 2]
        if not b"\r\n".startswith(end):
            raise WireError("chunk does not end where its size says")
        if len(end) < 2:
            return at
        self._left = None
        return at + 2

    def _line(self, data: bytes, at: int) -> int:
        limit = MAX_TRAILERS if self._in_trailers else MAX_CHUNK_LINE
        end = data.find(b"\r\n", at, at + limit + 2)
        if end < 0:
            if len(data) - at > limit:
                raise WireError("line of the chunked coding is too long")
            if b"\n" in data[at:]:
                raise WireError("bare line feed in the chunked coding")
            return at
        if self._in_trailers:
            self._trailer(data[at:end], data[end + 2 :])
        else:
            self._size(data[at:end])
        return end + 2

    def _size(self, line: bytes) -> None:
        size = _SIZE.fullmatch(line)
        if size is None:
            raise WireError("malformed chunk size line")
        self._left = int(size[1], 16) or None
        self._in_trailers = self._left is None

    def _trailer(self, line: bytes, rest: bytes) -> None:
        if not line:
            self.rest = rest
            return
        self._trailer_bytes += len(line) + 2
        if self._trailer_bytes > MAX_TRAILERS:
            raise WireError("trailers are too long")
        field = _TRAILER.fullmatch(line)
        if field is None or field[1].lower() in _FORBIDDEN_TRAILERS:
            raise WireError("malformed or forbidden trailer")
