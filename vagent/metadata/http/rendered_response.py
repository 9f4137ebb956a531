"""A reply that may be given again. A value; knows no shelf."""

from __future__ import annotations

from dataclasses import dataclass

_CLOSE = b"Connection: close\r\n"


@dataclass(frozen=True, slots=True)
class RenderedResponse:
    """One reply, rendered: `data` is head and body for a keep-alive GET.

    `body_at` is where the body begins. Fresh until `fresh_until`, of no use at all
    after `dead_at` (the clock's seconds).
    """

    data: bytes
    body_at: int
    fresh_until: float
    dead_at: float

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.data) - self.body_at

    def rendered(self, *, head_only: bool, close: bool) -> bytes:
        """The reply for a request of another kind: HEAD, or not keep-alive."""
        data = self.data[: self.body_at] if head_only else self.data
        if close:
            end = self.body_at - 2
            data = data[:end] + _CLOSE + data[end:]
        return data
