"""How well an endpoint is, and which one is next. Pure: time in, a choice out.

A refused connection takes an endpoint down at once. A reply that fails only makes it
suspect, because guests can provoke such failures (uWSGI answers a bad path by closing)
and must not be able to take an endpoint away from each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from vagent.metadata.limits import (
    MAX_BACKOFF_SECONDS,
    RETRY_SECONDS,
    SUSPECT_SECONDS,
)


class BreakerState(Enum):
    """What we believe of an endpoint; the value is its rank when one is chosen."""

    UP = 0
    SUSPECT = 1
    DOWN = 2


class Observation(Enum):
    """What was just seen of an endpoint."""

    REPLIED = "replied"
    CONNECTED = "connected"
    REPLY_FAILED = "reply failed"
    CONNECT_FAILED = "connect failed"


TRANSITIONS = {
    (BreakerState.UP, Observation.REPLIED): BreakerState.UP,
    (BreakerState.UP, Observation.CONNECTED): BreakerState.UP,
    (BreakerState.UP, Observation.REPLY_FAILED): BreakerState.SUSPECT,
    (BreakerState.UP, Observation.CONNECT_FAILED): BreakerState.DOWN,
    (BreakerState.SUSPECT, Observation.REPLIED): BreakerState.UP,
    (BreakerState.SUSPECT, Observation.CONNECTED): BreakerState.SUSPECT,
    (BreakerState.SUSPECT, Observation.REPLY_FAILED): BreakerState.SUSPECT,
    (BreakerState.SUSPECT, Observation.CONNECT_FAILED): BreakerState.DOWN,
    (BreakerState.DOWN, Observation.REPLIED): BreakerState.UP,
    # A TLS 1.3 server refuses our certificate after the connection looks good, so
    # only a reply proves that an endpoint is well again.
    (BreakerState.DOWN, Observation.CONNECTED): BreakerState.SUSPECT,
    (BreakerState.DOWN, Observation.REPLY_FAILED): BreakerState.SUSPECT,
    (BreakerState.DOWN, Observation.CONNECT_FAILED): BreakerState.DOWN,
}


@dataclass(slots=True, eq=False)
class CircuitBreaker:
    """What is known of one endpoint. Times are the clock's seconds."""

    health: BreakerState = BreakerState.UP
    failures: int = 0
    failed_at: float = 0.0
    busy: int = 0
    connecting: int = 0

    def note(self, outcome: Observation, now: float) -> bool:
        """Take in what was seen; True when the health changed."""
        before = self.health
        self.health = TRANSITIONS[before, outcome]
        if outcome is Observation.REPLIED:
            self.failures = 0
        elif outcome is Observation.CONNECT_FAILED:
            self.failures += 1
            self.failed_at = now
        elif outcome is Observation.REPLY_FAILED:
            self.failed_at = now
        return self.health is not before

    def rank(self, now: float) -> int:
        """Lower is better; suspicion is forgotten after SUSPECT_SECONDS."""
        suspect = self.health is BreakerState.SUSPECT
        if suspect and now - self.failed_at >= SUSPECT_SECONDS:
            return BreakerState.UP.value
        return self.health.value

    def may_connect(self, now: float, *, wanted: bool) -> bool:
        """May a connection be opened now? At a dead endpoint, one at a time.

        `wanted`: requests wait and nothing else is up, so the pause stays short.
        """
        if self.health is not BreakerState.DOWN:
            return True
        pause = RETRY_SECONDS if wanted else backoff(self.failures)
        return not self.connecting and now - self.failed_at >= pause


def backoff(failures: int) -> float:
    """Seconds between knocks at a dead endpoint that nobody waits for."""
    return min(
        RETRY_SECONDS * 2.0 ** min(max(failures - 1, 0), 10), MAX_BACKOFF_SECONDS
    )


def choose(
    records: list[CircuitBreaker],
    now: float,
    *,
    turn: int,
    avoid: Iterable[CircuitBreaker] = (),
) -> int | None:
    """Index of the best endpoint not down: healthiest, then least busy, then in turn.

    Those in `avoid` (they failed this request already) are taken only if there is no
    other. None when all are down.
    """
    shunned = tuple(avoid)
    count = len(records)
    alive = [
        (
            record in shunned,
            record.rank(now),
            record.busy,
            (index - turn) % count,
            index,
        )
        for index, record in enumerate(records)
        if record.health is not BreakerState.DOWN
    ]
    return min(alive)[-1] if alive else None
