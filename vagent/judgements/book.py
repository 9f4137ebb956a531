"""The judgements in force: each begins once and ends once.

What is wrong is looked at each second, and whenever somebody asks, so that a page shows
what a guest would meet at that moment. A judgement that is not seen any more ends only
after a while (hysteresis): what comes and goes is one judgement and two log lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vagent.judgements.events import began, ended
from vagent.judgements.judgement import Judgement, by_weight
from vagent.observe.event import Emit

LOOK_SECONDS = 1.0
END_SECONDS = 10.0
"""How long a judgement must not have been seen until it has ended: longer than the
longest pause between two attempts at an endpoint (MAX_BACKOFF_SECONDS)."""
MAX_JUDGEMENTS = 2048
"""In force at a time; what comes on top is told when others have ended."""


@dataclass(slots=True)
class _Entry:
    judgement: Judgement
    began: float
    seen: float


class JudgementBook:
    """Keeps what `judge` says. `now` gives seconds since the epoch, for dates that are
    shown; durations are measured by `clock`.
    """

    def __init__(
        self,
        judge: Callable[[], Iterable[Judgement]],
        *,
        emit: Emit,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._judge = judge
        self._emit = emit
        self._clock = clock
        self._now = now
        self._entries: dict[object, _Entry] = {}
        self._timer: IDelayedCall | None = None

    def __repr__(self) -> str:
        return f"<JudgementBook {len(self._entries)} in force>"

    def start(self) -> None:
        """Look now, and every LOOK_SECONDS until `stop`."""
        self._timer = self._clock.callLater(LOOK_SECONDS, self.start)
        self.look()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def look(self) -> float:
        """See what is wrong now, and report what has begun and what has ended. Returns
        when it looked.
        """
        seconds = self._clock.seconds()
        for judgement in self._judge():
            self._see(judgement, seconds)
        for key, entry in [*self._entries.items()]:
            if seconds - entry.seen >= END_SECONDS:
                del self._entries[key]
                self._emit(ended(entry.judgement, entry.seen - entry.began))
        return seconds

    def current(self) -> tuple[Judgement, ...]:
        """What is wrong at this moment, the worst first."""
        seconds = self.look()
        entries = self._entries.values()
        seen = [one.judgement for one in entries if one.seen == seconds]
        return tuple(sorted(seen, key=by_weight))

    def _see(self, judgement: Judgement, seconds: float) -> None:
        entry = self._entries.get(judgement.key)
        if entry is not None:
            since = entry.judgement.since
            entry.judgement = replace(judgement, since=since)
            entry.seen = seconds
        elif len(self._entries) < MAX_JUDGEMENTS:
            judgement = replace(judgement, since=self._now())
            self._entries[judgement.key] = _Entry(judgement, seconds, seconds)
            self._emit(began(judgement))
