"""Every deadline of the proxy on one timer.

A timer per request costs as much as parsing the request, so each watched object
carries its own `deadline` and one tick looks at them all. Deadlines are absolute and
may be late by one tick. The timer runs only while something is watched.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

NEVER = float("inf")


class Watched(Protocol):
    """Has a deadline in the clock's seconds; NEVER while nothing is due."""

    deadline: float

    def expired(self) -> None:
        """The deadline has passed. Must move or end it, or is called at each tick."""


class Deadlines:
    """Watches objects until they are unwatched or it is stopped."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._watched: set[Watched] = set()
        self._tick_call: IDelayedCall | None = None
        self._clock = clock
        self.now = clock.seconds

    def watch(self, watched: Watched) -> None:
        """Look at its deadline from now on."""
        self._watched.add(watched)
        if self._tick_call is None:
            self._tick_call = self._clock.callLater(TICK_SECONDS, self._tick)

    def unwatch(self, watched: Watched) -> None:
        """No `expired` after this."""
        self._watched.discard(watched)

    def stop(self) -> None:
        """Forget all and cancel the timer."""
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
        except Exception:  # border: one bad object must not stop everybody's deadlines
            self._log.failure("deadline of {watched!r}", watched=watched)
            self._watched.discard(watched)


TICK_SECONDS = 0.25
"""Grain of every deadline here; one timer for all of them, none per request."""
