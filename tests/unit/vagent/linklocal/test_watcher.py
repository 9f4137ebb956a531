"""The watcher of the store, on the verified fake."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from vagent.linklocal.codec import KIND, OBJECT_ID, PROPERTY, wire_entry
from vagent.linklocal.events import ServicesChanged, ServicesKept
from vagent.linklocal.table import EMPTY, ServiceTable
from vagent.linklocal.watcher import ServiceWatcher
from vagent.observe.event import Event
from vagent.store.memory import MemoryStore
from vagent.store.store import StoreEntry


def value(*names: str) -> dict[str, Any]:
    entries = [
        wire_entry(name=name, address="169.254.169.254", port=port, fabric_port=80)
        for port, name in enumerate(names, start=80)
    ]
    return {PROPERTY: {"linklocal_service_entry": entries}}


class SlowStore(MemoryStore):
    """Reads wait until they are let go, as those of a thread do."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Deferred[None]] = []

    async def get(self, kind: str, entry_id: str) -> StoreEntry | None:
        turn: Deferred[None] = Deferred()
        self.waiting.append(turn)
        await turn
        return await super().get(kind, entry_id)


class ServiceWatcherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()
        self.tables: list[ServiceTable] = []
        self.events: list[Event] = []

    def watch(self, store: MemoryStore) -> ServiceWatcher:
        watcher = ServiceWatcher(store, self.tables.append, self.events.append)
        watcher.start()
        return watcher

    def put(self, store: MemoryStore, stored: dict[str, Any]) -> None:
        put = store.put(KIND, OBJECT_ID, stored, expected=None)
        self.successResultOf(Deferred.fromCoroutine(put))

    def names(self) -> list[list[str]]:
        return [[service.name for service in table] for table in self.tables]

    def test_absent(self) -> None:
        """Without the object the first table is empty, and it is told once."""
        self.watch(self.store)
        assert self.tables == [EMPTY]

    def test_constructor_does_nothing(self) -> None:
        """Before start nothing is read and nothing watched."""
        watcher = ServiceWatcher(self.store, self.tables.append, self.events.append)
        self.put(self.store, value("metadata"))
        assert (watcher.table, self.tables) == (EMPTY, [])

    def test_follows(self) -> None:
        """Create, change and delete each give the table of that moment.
        (Contrail: GlobalVrouterDeleteTest.)
        """
        self.put(self.store, value("metadata"))
        watcher = self.watch(self.store)
        self.put(self.store, value("metadata", "ntp"))
        deleted = Deferred.fromCoroutine(self.store.delete(KIND, OBJECT_ID))
        assert self.successResultOf(deleted)
        assert self.names() == [["metadata"], ["metadata", "ntp"], []]
        assert watcher.table == EMPTY
        changes = [event for event in self.events if type(event) is ServicesChanged]
        assert len(changes) == 3

    def test_same_table(self) -> None:
        """A change that changes no service is not told."""
        self.put(self.store, value("metadata"))
        self.watch(self.store)
        self.put(self.store, {**value("metadata"), "flow_export_rate": 5})
        assert len(self.tables) == 1

    def test_keeps_last_good(self) -> None:
        """While the store fails the last good table stays; then it follows again."""
        self.put(self.store, value("metadata"))
        watcher = self.watch(self.store)
        self.store.broken = "disk on fire"
        watcher._refresh()  # what the store calls
        assert self.names() == [["metadata"]]
        assert self.events[-1] == ServicesKept("disk on fire")
        self.store.broken = None
        self.put(self.store, value("ntp"))
        assert self.names() == [["metadata"], ["ntp"]]

    def test_fails_at_start(self) -> None:
        """A store that fails from the start: the empty table is told, once, so that
        nobody waits for ever; the first good read is told in any case.
        """
        self.store.broken = "disk on fire"
        watcher = self.watch(self.store)
        watcher._refresh()  # what the store calls
        assert (watcher.table, self.tables) == (EMPTY, [EMPTY])
        self.store.broken = None
        watcher._refresh()
        assert self.tables == [EMPTY, EMPTY]

    def test_nonsense(self) -> None:
        """A property of the wrong shape keeps the last good table, too."""
        self.put(self.store, value("metadata"))
        self.watch(self.store)
        self.put(self.store, {PROPERTY: "nonsense"})
        assert self.names() == [["metadata"]]
        assert isinstance(self.events[-1], ServicesKept)

    def test_one_read_at_a_time(self) -> None:
        """However many changes come during a read, one more read follows, the last."""
        store = SlowStore()
        self.watch(store)
        for name in ("a", "b", "c"):
            self.put(store, value(name))
        assert len(store.waiting) == 1
        store.waiting.pop().callback(None)
        assert len(store.waiting) == 1
        store.waiting.pop().callback(None)
        assert store.waiting == []
        assert self.names() == [["c"]]

    def test_stop(self) -> None:
        """After stop nothing is told, and it waits for a read under way."""
        store = SlowStore()
        watcher = self.watch(store)
        stopped = watcher.stop()
        assert stopped is not None
        self.assertNoResult(stopped)
        store.waiting.pop().callback(None)
        self.successResultOf(stopped)
        self.put(store, value("metadata"))
        assert (store.waiting, self.tables) == ([], [])

    def test_stop_idle(self) -> None:
        """Stopping between reads needs no waiting."""
        assert self.watch(self.store).stop() is None

    def test_faulty_listener(self) -> None:
        """A fault of whoever is told is logged and does not end the watching."""
        tables: list[ServiceTable] = []

        def changed(table: ServiceTable) -> None:
            tables.append(table)
            raise ZeroDivisionError

        ServiceWatcher(self.store, changed, self.events.append).start()
        self.put(self.store, value("metadata"))
        assert len(tables) == 2
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 2

    def test_followed_waits_for_every_change_so_far(self) -> None:
        """Also for the read that a change during a read causes."""
        store = SlowStore()
        watcher = self.watch(store)
        self.put(store, value("metadata"))
        done = Deferred.fromCoroutine(watcher.followed())
        store.waiting[0].callback(None)
        self.assertNoResult(done)
        store.waiting[1].callback(None)
        self.successResultOf(done)
        assert ["metadata"] == [service.name for service in watcher.table]

    def test_followed_says_that_the_list_could_not_be_read(self) -> None:
        """Until it can be read again."""
        self.store.broken = "disk on fire"
        watcher = self.watch(self.store)
        failed = Deferred.fromCoroutine(watcher.followed())
        assert "disk on fire" in str(self.failureResultOf(failed).value)
        self.store.broken = None
        self.put(self.store, value("metadata"))
        self.successResultOf(Deferred.fromCoroutine(watcher.followed()))
