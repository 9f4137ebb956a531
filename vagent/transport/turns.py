"""Work that goes on in a later turn of the reactor, so that others get theirs first.

A connection with much to do does a little of it and queues for its next turn behind all
others that wait. Only MAX_PER_TURN of them go on in one turn of the reactor, so the
time until sockets and timers are looked at again does not grow with their number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

MAX_PER_TURN = 16
"""Calls in one turn of the reactor. Each serves a few requests: some 0.1 ms."""


class Turns:
    """A queue, first come, first served, on one timer of the reactor."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_scheduled = False

    def later(self, call: Callable[[], None]) -> None:
        """Call it when its turn has come. It must not raise."""
        self._waiting.append(call)
        self._schedule()

    def _run(self) -> None:
        self._is_scheduled = False
        for _ in range(min(MAX_PER_TURN, len(self._waiting))):
            self._waiting.popleft()()
        if self._waiting:
            self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._clock.callLater(0, self._run)
