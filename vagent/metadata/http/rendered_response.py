"""A response as bytes that can be sent again, to requests of several kinds. A value."""

from __future__ import annotations

from dataclasses import dataclass

_CLOSE = b"Connection: close\r\n"


@dataclass(frozen=True, slots=True)
class RenderedResponse:
    """A response with status 200.

    `data` is its head and body as a GET gets it on a connection that stays open; the
    body begins at `body_at`.
    """

    data: bytes
    body_at: int

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.data) - self.body_at

    def variant(self, *, head_only: bool, close: bool) -> bytes:
        """The response to a HEAD, or one after which the connection closes."""
        data = self.data[: self.body_at] if head_only else self.data
        if close:
            end = self.body_at - 2
            data = data[:end] + _CLOSE + data[end:]
        return data
