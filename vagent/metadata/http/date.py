"""The field `Date` (RFC 9110 §6.6.1), rendered once a second, not for a response."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate

DateLine = Callable[[], bytes]
"""The whole line, with its CRLF."""


class HttpDate:
    """The date of now. `now` is the wall clock, `clock` one that nobody can set, both
    in seconds. A wall clock that is set is followed within a second.
    """

    __slots__ = ("_clock", "_line", "_now", "_until")
    _line: bytes

    def __init__(self, now: Callable[[], float], clock: Callable[[], float]) -> None:
        self._now = now
        self._clock = clock
        self._until = float("-inf")

    def line(self) -> bytes:
        """The line; the same object within a second."""
        at = self._clock()
        if at >= self._until:
            now = self._now()
            self._until = at + 1.0 - now % 1.0
            self._line = f"Date: {formatdate(now, usegmt=True)}\r\n".encode()
        return self._line
