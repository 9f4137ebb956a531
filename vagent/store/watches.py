"""Subscriptions to changes, by kind of entry."""

from __future__ import annotations

from twisted.logger import Logger

from vagent.store.store import Changed

_log = Logger()


class Watches:
    """The subscriptions of one store; called from the reactor's thread only."""

    def __init__(self) -> None:
        self._watches: dict[str, list[_Watch]] = {}

    def add(self, kind: str, changed: Changed) -> _Watch:
        """Subscribe; the same call-back may be added twice and is then called twice."""
        watch = _Watch(self, kind, changed)
        self._watches.setdefault(kind, []).append(watch)
        return watch

    def tell(self, kind: str, entry_id: str) -> None:
        """Call all watchers of the kind that have not stopped."""
        for watch in tuple(self._watches.get(kind, ())):
            if not watch.active:
                continue
            try:
                watch.changed(entry_id)
            except Exception:  # a watcher's fault must not undo a commit
                _log.failure("A watcher of {kind} failed", kind=kind)

    def discard(self, watch: _Watch) -> None:
        """Forget a subscription."""
        watches = self._watches.get(watch.kind, [])
        if watch in watches:
            watches.remove(watch)
        if not watches:
            self._watches.pop(watch.kind, None)

    def __repr__(self) -> str:
        counts = {kind: len(watches) for kind, watches in self._watches.items()}
        return f"<Watches {counts}>"


class _Watch:
    def __init__(self, owner: Watches, kind: str, changed: Changed) -> None:
        self._owner = owner
        self.kind = kind
        self.changed = changed
        self.active = True

    def stop(self) -> None:
        """No call-back after this, not even from a round that has begun."""
        self.active = False
        self._owner.discard(self)
