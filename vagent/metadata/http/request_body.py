"""Collects the body of a guest's request, up to a ceiling. Pure.

Bodies are tiny here (a password), so they are never streamed: a slow guest cannot
occupy an upstream connection, and the upstream always gets a Content-Length.
"""

from __future__ import annotations

from vagent.errors import WireError
from vagent.metadata.http.chunked import Chunked
from vagent.metadata.http.request_head import RequestRefusal
from vagent.metadata.limits import MAX_CHUNK_OVERHEAD, MAX_REQUEST_BODY


class RequestBody:
    """Collects one body; `length` None stands for the chunked coding.

    `rest` is None until the body is complete, then the bytes that follow it.
    """

    __slots__ = ("_chunked", "_length", "_pieces", "_raw", "_size", "rest")

    def __init__(self, length: int | None) -> None:
        self._length = length
        self._chunked = Chunked() if length is None else None
        self._pieces: list[bytes] = []
        self._raw = 0
        self._size = 0
        self.rest: bytes | None = None

    def feed(self, data: bytes) -> RequestRefusal | None:
        """Take what arrived. A refusal ends the connection."""
        if self._chunked is None:
            missing = (self._length or 0) - self._size
            self._keep(data[:missing])
            if len(data) >= missing:
                self.rest = data[missing:]
            return None
        self._raw += len(data)
        try:
            self._keep(self._chunked.feed(data))
        except WireError as error:
            return RequestRefusal(400, str(error))
        self.rest = self._chunked.rest
        surplus = self._raw - len(self.rest or b"")
        if self._size > MAX_REQUEST_BODY:
            return RequestRefusal(413, "body too long")
        if surplus - self._size > MAX_CHUNK_OVERHEAD:
            return RequestRefusal(413, "too many small chunks")
        return None

    @property
    def is_untouched(self) -> bool:
        """Has nothing of the body arrived?"""
        return not self._pieces

    @property
    def content(self) -> bytes:
        """The content of the body as far as it has been read."""
        return b"".join(self._pieces)

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
