"""The circuit breaker of each upstream endpoint, and which endpoint is used next. Pure.

A connection that is refused takes an endpoint down at once. A response that fails only
makes it suspect, because a guest can provoke such failures (uWSGI closes on a bad path)
and must not be able to take an endpoint away from the other guests.
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
    """The state of an endpoint; lower values are preferred when one is chosen."""

    UP = 0
    """Used."""
    SUSPECT = 1
    """Used where no other is up: it failed a request, or was down and accepted a
    connection (a half-open circuit).
    """
    DOWN = 2
    """Not used; it is only tried from time to time (an open circuit)."""


class EndpointOutcome(Enum):
    """How the latest connection attempt or request to an endpoint ended."""

    REPLIED = "replied"
    CONNECTED = "connected"
    REPLY_FAILED = "reply failed"
    CONNECT_FAILED = "connect failed"
    REFUSED = "client certificate refused"


TRANSITIONS = {
    (BreakerState.UP, EndpointOutcome.REPLIED): BreakerState.UP,
    (BreakerState.UP, EndpointOutcome.CONNECTED): BreakerState.UP,
    (BreakerState.UP, EndpointOutcome.REPLY_FAILED): BreakerState.SUSPECT,
    (BreakerState.UP, EndpointOutcome.CONNECT_FAILED): BreakerState.DOWN,
    (BreakerState.UP, EndpointOutcome.REFUSED): BreakerState.DOWN,
    (BreakerState.SUSPECT, EndpointOutcome.REPLIED): BreakerState.UP,
    (BreakerState.SUSPECT, EndpointOutcome.CONNECTED): BreakerState.SUSPECT,
    (BreakerState.SUSPECT, EndpointOutcome.REPLY_FAILED): BreakerState.SUSPECT,
    (BreakerState.SUSPECT, EndpointOutcome.CONNECT_FAILED): BreakerState.DOWN,
    (BreakerState.SUSPECT, EndpointOutcome.REFUSED): BreakerState.DOWN,
    (BreakerState.DOWN, EndpointOutcome.REPLIED): BreakerState.UP,
    # A connection alone does not prove that the endpoint works.
    (BreakerState.DOWN, EndpointOutcome.CONNECTED): BreakerState.SUSPECT,
    (BreakerState.DOWN, EndpointOutcome.REPLY_FAILED): BreakerState.SUSPECT,
    (BreakerState.DOWN, EndpointOutcome.CONNECT_FAILED): BreakerState.DOWN,
    (BreakerState.DOWN, EndpointOutcome.REFUSED): BreakerState.DOWN,
}

_PROVE_NOTHING = frozenset((EndpointOutcome.CONNECTED, EndpointOutcome.REPLY_FAILED))
"""After REFUSED. A TLS 1.3 server refuses a client certificate only when the client has
seen the handshake succeed, so it can be connected to however often; and its alert may
be lost behind a reset."""


@dataclass(slots=True, eq=False)
class CircuitBreaker:
    """What is known of one endpoint, and its load. Times are the clock's seconds.

    `failures` counts failed connects in a row, `busy` requests under way, `connecting`
    connections that are being opened. `is_refused`: it did not accept the client
    certificate last, so only a reply brings it back.
    """

    state: BreakerState = BreakerState.UP
    failures: int = 0
    failed_at: float = 0.0
    busy: int = 0
    connecting: int = 0
    is_refused: bool = False

    def note(self, outcome: EndpointOutcome, now: float) -> bool:
        """Take in what was seen; True when the state changed."""
        before = self.state
        if self.is_refused and outcome in _PROVE_NOTHING:
            return False
        self.is_refused = outcome is EndpointOutcome.REFUSED
        self.state = TRANSITIONS[before, outcome]
        if outcome is EndpointOutcome.REPLIED:
            self.failures = 0
        elif outcome in (EndpointOutcome.CONNECT_FAILED, EndpointOutcome.REFUSED):
            self.failures += 1
            self.failed_at = now
        elif outcome is EndpointOutcome.REPLY_FAILED:
            self.failed_at = now
        return self.state is not before

    def rank(self, now: float) -> int:
        """Lower is better. After SUSPECT_SECONDS a suspect ranks as one that is up."""
        suspect = self.state is BreakerState.SUSPECT
        if suspect and now - self.failed_at >= SUSPECT_SECONDS:
            return BreakerState.UP.value
        return self.state.value

    def may_connect(self, now: float, *, wanted: bool) -> bool:
        """May a connection be opened now? To an endpoint that is down, one at a time.

        `wanted`: requests wait and no endpoint is up, so the pause stays short.
        """
        if self.state is not BreakerState.DOWN:
            return True
        pause = RETRY_SECONDS if wanted else backoff(self.failures)
        return not self.connecting and now - self.failed_at >= pause


def backoff(failures: int) -> float:
    """Seconds between attempts at an endpoint that is down while no request waits."""
    return min(
        RETRY_SECONDS * 2.0 ** min(max(failures - 1, 0), 10), MAX_BACKOFF_SECONDS
    )


def choose(
    breakers: list[CircuitBreaker],
    now: float,
    *,
    turn: int,
    avoid: Iterable[CircuitBreaker] = (),
) -> int | None:
    """Index of the endpoint to use: by state, then least busy, then round robin.

    Those in `avoid` have failed this request already and are used only if no other is
    left. None when all are down.
    """
    avoided = tuple(avoid)
    count = len(breakers)
    candidates = [
        (
            breaker in avoided,
            breaker.rank(now),
            breaker.busy,
            (index - turn) % count,
            index,
        )
        for index, breaker in enumerate(breakers)
        if breaker.state is not BreakerState.DOWN
    ]
    return min(candidates)[-1] if candidates else None
