"""Sharing: who lacks a connection, who has to wait, and who gets one that is quiet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from vagent.metadata.limits import QUIET_SECONDS
from vagent.metadata.upstream.circuit_breaker import BreakerState, CircuitBreaker
from vagent.metadata.upstream.sharing import (
    QuietHandOver,
    lacks_any,
    lacks_new,
    may_overtake,
)


def endpoint(coming: int = 0, unbound: int = 0, *, is_full: bool = True) -> Any:
    """An endpoint with these connections to come, and idle ones for anybody."""
    idle = SimpleNamespace(unbound=unbound)
    return SimpleNamespace(coming=coming, is_full=is_full, idle=idle)


def queue(size: int, needing_fresh: int = 0) -> Any:
    return SimpleNamespace(size=size, needing_fresh=needing_fresh)


@pytest.mark.parametrize(
    ("waiting", "fresh", "coming", "unbound", "new", "some"),
    [
        (0, 0, 0, 0, False, False),
        (1, 0, 0, 0, False, True),
        (1, 0, 1, 0, False, False),
        (1, 0, 0, 1, False, False),
        (3, 0, 1, 1, False, True),
        (3, 0, 1, 2, False, False),
        (1, 1, 0, 1, True, True),
        (1, 1, 1, 0, False, False),
        (3, 2, 1, 5, True, True),
    ],
)
def test_who_lacks_a_connection(
    waiting: int, fresh: int, coming: int, unbound: int, *, new: bool, some: bool
) -> None:
    """What must have a new one is not helped by one that becomes quiet."""
    there = endpoint(coming, unbound)
    assert new is lacks_new(queue(waiting, fresh), there)
    assert some is lacks_any(queue(waiting, fresh), there)


@pytest.mark.parametrize(
    ("waiting", "coming", "unbound", "is_full", "may"),
    [
        (0, 0, 0, True, True),
        (1, 0, 0, False, True),
        (1, 0, 1, True, False),
        (1, 1, 0, True, False),
        (1, 1, 1, True, True),
    ],
)
def test_who_may_overtake(
    waiting: int, coming: int, unbound: int, *, is_full: bool, may: bool
) -> None:
    """Where one more can be opened, or more are there than those who wait can use."""
    there = endpoint(coming, unbound, is_full=is_full)
    assert may is may_overtake(queue(waiting), there)


class Rig:
    """An endpoint with one connection that becomes quiet, and requests that wait."""

    def __init__(self, *requests: str) -> None:
        self.clock = Clock()
        self.requests = list(requests)
        self.sent: list[tuple[str, str]] = []
        self.breaker = CircuitBreaker()
        self.idle = ["a connection"]
        waiting: Any = self
        self.hand_over = QuietHandOver(waiting, self._send, self.clock)
        endpoint: Any = SimpleNamespace(breaker=self.breaker, idle=self)
        self.endpoints = [endpoint]

    def _send(self, request: Any, connection: Any) -> None:
        self.sent.append((request, connection))

    # The queue.

    @property
    def size(self) -> int:
        return len(self.requests)

    def first(self, breaker: CircuitBreaker, *, is_new: bool) -> str | None:
        assert (self.breaker, False) == (breaker, is_new)
        return self.requests[0] if self.requests else None

    def remove(self, request: str, *, is_sent: bool) -> None:
        assert is_sent
        self.requests.remove(request)

    # The idle connections.

    @property
    def next_quiet(self) -> float | None:
        return QUIET_SECONDS if self.idle else None

    def take_quiet(self) -> str | None:
        return self.idle.pop() if self.idle else None


def test_who_waits_longest_gets_it_when_it_is_quiet() -> None:
    """Not before, and nobody is asked again when there is no other."""
    rig = Rig("first", "second")
    for _ in range(2):
        rig.hand_over.watch(rig.endpoints)
    rig.clock.advance(QUIET_SECONDS - 0.001)
    assert [] == rig.sent
    rig.clock.advance(0.002)
    assert [("first", "a connection")] == rig.sent
    assert (["second"], []) == (rig.requests, rig.clock.getDelayedCalls())


def test_nothing_is_awaited_without_need() -> None:
    """Nobody waits, the endpoint is not used, or no connection will be quiet."""
    nobody, unused, none = Rig(), Rig("a"), Rig("a")
    unused.breaker.state = BreakerState.DOWN
    none.idle = []
    for rig in (nobody, unused, none):
        rig.hand_over.watch(rig.endpoints)
        assert [] == rig.clock.getDelayedCalls()


def test_an_endpoint_that_goes_down_meanwhile_is_left_alone() -> None:
    """As for every other request."""
    rig = Rig("a")
    rig.hand_over.watch(rig.endpoints)
    rig.breaker.state = BreakerState.DOWN
    rig.clock.advance(2 * QUIET_SECONDS)
    assert ([], []) == (rig.sent, rig.clock.getDelayedCalls())


def test_stopping_cancels_it() -> None:
    """Also when nothing is awaited."""
    rig = Rig("a")
    rig.hand_over.watch(rig.endpoints)
    for _ in range(2):
        rig.hand_over.stop()
        assert [] == rig.clock.getDelayedCalls()
