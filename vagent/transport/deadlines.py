"""All deadlines on one timer.

A timer for each request would cost as much as parsing the request. Instead each watched
object has an attribute `deadline`, and one timer looks at all of them every
TICK_SECONDS; so a deadline may be late by one tick. The timer runs only while something
is watched.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

NEVER = float("inf")


class Watched(Protocol):
    """Something with a deadline, in the clock's seconds; NEVER while none is set."""

    deadline: float

    def expired(self) -> None:
        """The deadline has passed. Called at each tick until the deadline is moved."""


class Deadlines:
    """Watches objects until `unwatch` or `stop`. `now` is the clock's time."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._watched: set[Watched] = set()
        self._tick_call: IDelayedCall | None = None
        self._clock = clock
        self.now = clock.seconds

    def watch(self, watched: Watched) -> None:
        """Call `expired` whenever its deadline has passed."""
        self._watched.add(watched)
        if self._tick_call is None:
            self._tick_call = self._clock.callLater(TICK_SECONDS, self._tick)

    def unwatch(self, watched: Watched) -> None:
        """Do not call `expired` any more."""
        self._watched.discard(watched)

    def stop(self) -> None:
        """Unwatch everything and cancel the timer."""
        self._watched.clear()
        if self._tick_call is not None:
            self._tick_call.cancel()
            self._tick_call = None

    def _tick(self) -> None:
        self._tick_call = None
        now = self.now()
        for watched in [one for one in self._watched if one.deadline <= now]:
            if watched in self._watched:
                self._expire(watched)
        if self._watched and self._tick_call is None:
            self._tick_call = self._clock.callLater(TICK_SECONDS, self._tick)

    def _expire(self, watched: Watched) -> None:
        try:
            watched.expired()
        except Exception:  # one object's fault must not end all deadlines
            self._log.failure("deadline of {watched!r}", watched=watched)
            self._watched.discard(watched)


TICK_SECONDS = 0.25
"""Seconds between two looks at all deadlines."""
