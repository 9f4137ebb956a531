"""Reads a guest's bytes as whole requests, one at a time. No I/O, no clock.

The caller feeds what arrives and takes requests that are complete. In between,
`stage` says how far the next one has come, so that the caller can set a deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from vagent.metadata.http.request_body import RequestBody
from vagent.metadata.http.request_head import (
    RequestHead,
    RequestRefusal,
    refuse_partial,
)


class RequestStage(Enum):
    """How much of the next request is there."""

    NOTHING = "no byte"
    HEAD = "part of a head"
    BODY = "a head and part of a body"


_NOTHING = RequestStage.NOTHING
"""The member as a plain name: in Python 3.11 `RequestStage.NOTHING` costs 70 ns."""


class RequestReader:
    """Reads the requests of one connection. `parse` reads a whole head.

    It cannot be used after a refusal: where a next request begins is then unknown.
    """

    __slots__ = ("_at", "_body", "_buffer", "_parse", "_request", "_scanned", "stage")

    def __init__(self, parse: Callable[[bytes], RequestHead | RequestRefusal]) -> None:
        self._parse = parse
        # Bytes from `_at` on are not taken yet. Of those, the first `_scanned` hold no
        # end of a head: what comes later is looked through, not all from its start.
        self._buffer = b""
        self._at = 0
        self._scanned = 0
        self._request: RequestHead | None = None
        self._body: RequestBody | None = None
        self.stage: RequestStage = _NOTHING

    def feed(self, data: bytes) -> None:
        """Keep what arrived until it is taken."""
        self._buffer = self._buffer[self._at :] + data if self._buffer else data
        self._at = 0

    def take(
        self, data: bytes = b""
    ) -> tuple[RequestHead, bytes] | RequestRefusal | None:
        """The next request with its body, or why it is refused; None: not complete yet.

        `data` is fed first.
        """
        if not self._buffer:
            self._buffer = data
        elif data:
            self.feed(data)
        if self._request is None:
            if not self._buffer:
                self.stage = _NOTHING
                return None
            request = self._take_head()
            if request is None or isinstance(request, RequestRefusal):
                return request
            if request.body_length == 0:
                return request, b""
            self._request = request
            self._body = RequestBody(request.body_length)
            self.stage = RequestStage.BODY
        return self._take_body(self._request)

    def discard(self) -> None:
        """Forget what was fed."""
        self._buffer, self._at = b"", 0

    @property
    def size(self) -> int:
        """How many bytes are kept that belong to no request taken so far."""
        return len(self._buffer) - self._at

    @property
    def wants_continue(self) -> bool:
        """Does the guest wait for 100 before it sends the body (RFC 9110 §10.1.1)?"""
        request = self._request
        return (
            request is not None
            and request.expects_continue
            and self._body is not None
            and self._body.is_untouched
        )

    def _take_head(self) -> RequestHead | RequestRefusal | None:
        buffer, at = self._buffer, self._at
        if buffer.startswith(b"\r\n", at):
            at += 2  # RFC 9112 §2.2: one empty line before a request
        scanned, self._scanned = self._scanned, 0
        start = at + scanned - 3 if scanned > 3 else at
        end = buffer.find(b"\r\n\r\n", start) + 4
        if end < 4:
            head = buffer[at:]
            self._scanned = len(head)
            self.stage = RequestStage.HEAD if head else _NOTHING
            return refuse_partial(head, scanned)
        self.stage = _NOTHING
        if end == len(buffer):
            self._buffer, self._at = b"", 0  # an idle connection keeps no head
            return self._parse(buffer[at:] if at else buffer)
        self._at = end
        return self._parse(buffer[at:end])

    def _take_body(
        self, request: RequestHead
    ) -> tuple[RequestHead, bytes] | RequestRefusal | None:
        body = self._body
        data = self._buffer[self._at :]
        self.discard()
        if body is None or not data:
            return None
        refusal = body.feed(data)
        if refusal is not None or body.rest is None:
            return refusal
        self._buffer = body.rest
        self._request = self._body = None
        self.stage = _NOTHING
        return request, body.content
