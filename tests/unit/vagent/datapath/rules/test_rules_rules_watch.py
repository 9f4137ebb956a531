"""Looks each second, and for whoever asks, who does not wait for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from vagent.datapath.rules.rules_watch import (
    LOOK_DEADLINE,
    LOOK_INTERVAL,
    SOON,
    RulesWatch,
)


class Watched:
    def __init__(self) -> None:
        self.clock = Clock()
        self.looks = 0
        self.kernel: Deferred[None] | None = None
        self.rules_looks = 0
        self.watch = RulesWatch(self.look, self.look_at_rules, clock=self.clock)

    async def look(self) -> None:
        self.looks += 1
        if self.kernel is not None:
            await self.kernel

    async def look_at_rules(self) -> None:
        self.rules_looks += 1

    def ask(self) -> list[bool]:
        """What is answered, when it is."""
        found: list[bool] = []
        Deferred.fromCoroutine(self.watch.ask()).addCallback(found.append)
        return found


@pytest.fixture
def watched() -> Iterator[Watched]:
    """Nothing may be left after `stop`."""
    made = Watched()
    yield made
    made.watch.stop()
    assert [] == made.clock.getDelayedCalls()


def test_it_looks_each_second(watched: Watched) -> None:
    """From the start on, until the stop."""
    watched.watch.start()
    assert 0 == watched.looks
    watched.clock.pump([LOOK_INTERVAL] * 3)
    assert 3 == watched.looks
    watched.watch.stop()
    watched.clock.advance(LOOK_INTERVAL)
    assert 3 == watched.looks


def test_a_slow_look_is_not_overtaken(watched: Watched) -> None:
    """The next one begins a second after it; the stop ends that."""
    watched.watch.start()
    watched.kernel = Deferred()
    watched.clock.pump([LOOK_INTERVAL] * 3)
    assert 1 == watched.looks
    watched.kernel.callback(None)
    watched.clock.advance(LOOK_INTERVAL)
    assert 2 == watched.looks


def test_a_look_under_way_at_the_stop_is_the_last(watched: Watched) -> None:
    """No timer is left."""
    watched.watch.start()
    watched.kernel = Deferred()
    watched.clock.advance(LOOK_INTERVAL)
    watched.watch.stop()
    watched.kernel.callback(None)
    assert [] == watched.clock.getDelayedCalls()


def test_who_asks_gets_a_look(watched: Watched) -> None:
    """At once, whether or not it looks by itself."""
    assert ([True], 1) == (watched.ask(), watched.looks)


def test_who_asks_waits_so_long(watched: Watched) -> None:
    """A transaction that hangs is an answer, too."""
    watched.kernel = Deferred()
    answer = watched.ask()
    watched.clock.advance(LOOK_DEADLINE - 0.1)
    assert [] == answer
    watched.clock.advance(0.1)
    assert [False] == answer


def test_a_change_is_looked_at_soon(watched: Watched) -> None:
    """One look for all changes until then; at rules alone."""
    watched.watch.start()
    for _ in range(100):
        watched.watch.changed()
    watched.clock.advance(SOON)
    assert (1, 0) == (watched.rules_looks, watched.looks)
    watched.watch.changed()
    watched.clock.advance(SOON)
    assert 2 == watched.rules_looks


def test_a_change_after_the_stop_is_nobody_s(watched: Watched) -> None:
    """Nor is one shortly before it."""
    watched.watch.start()
    watched.watch.changed()
    watched.watch.stop()
    watched.watch.changed()
    watched.clock.advance(SOON)
    assert 0 == watched.rules_looks
