"""Watchers of a store."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vagent.store.watches import Watches


class WatchesTests(SynchronousTestCase):
    def test_fault(self) -> None:
        """A watcher that raises is logged and does not keep the news from the next."""
        seen: list[str] = []

        def broken(_id: str) -> None:
            raise IndexError

        watches = Watches()
        watches.add("kind", broken)
        watches.add("kind", seen.append)
        watches.tell("kind", "told")
        assert seen == ["told"]
        assert len(self.flushLoggedErrors(IndexError)) == 1

    def test_forgotten(self) -> None:
        """Nothing is left of a watcher that stopped; stopping twice is harmless."""
        watches = Watches()
        watch = watches.add("kind", lambda _: None)
        other = watches.add("kind", lambda _: None)
        assert repr(watches) == "<Watches {'kind': 2}>"
        for _ in range(2):
            watch.stop()
        other.stop()
        assert repr(watches) == "<Watches {}>"
