"""A response as bytes that can be sent again, to requests of several kinds. A value."""

from __future__ import annotations

from dataclasses import dataclass

_CLOSE = b"Connection: close\r\n"


@dataclass(frozen=True, slots=True)
class RenderedResponse:
    """A response with status 200.

    `data` is its head and body as a GET gets it on a connection that stays open; `size`
    counts the body.
    """

    data: bytes
    size: int

    def variant(self, *, head_only: bool, close: bool) -> bytes:
        """The response to a HEAD, or one after which the connection closes."""
        body_at = len(self.data) - self.size
        data = self.data[:body_at] if head_only else self.data
        if close:
            end = body_at - 2
            data = data[:end] + _CLOSE + data[end:]
        return data
