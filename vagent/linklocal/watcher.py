"""Follows the list of services in the store, and reports each new table.

There is one read at a time; changes that come during a read cause one more read. When
the store fails, or its content cannot be read, the last good table stays in force.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from vagent.errors import StoreError, WireError
from vagent.linklocal.codec import KIND, OBJECT_ID, PROPERTY, raw_entries
from vagent.linklocal.events import ServicesChanged, ServicesKept
from vagent.linklocal.own_servers import OwnServers
from vagent.linklocal.table import EMPTY, ServiceTable
from vagent.observe.event import Emit
from vagent.store.store import ConfigStore, Watch

_log = Logger()


class ServiceWatcher:
    """Keeps `table` equal to what the store holds.

    `changed` is called from the reactor: once after the first read (with the empty
    table if it failed), after the first good read, and then whenever the table differs.
    """

    def __init__(
        self,
        store: ConfigStore,
        changed: Callable[[ServiceTable], None],
        emit: Emit,
        *,
        own: OwnServers | None = None,
    ) -> None:
        self._own = own
        self._store = store
        self._changed = changed
        self._emit = emit
        self._table = EMPTY
        self._running = False
        self._loaded = False
        self._told = False
        self._watch: Watch | None = None
        self._reading: Deferred[None] | None = None
        self._stale = False
        self._problem = ""

    @property
    def table(self) -> ServiceTable:
        """The table in force; empty until the first good read."""
        return self._table

    def start(self) -> None:
        """Read the list and follow its changes."""
        self._running = True
        self._watch = self._store.watch(KIND, lambda _id: self._refresh())
        self._refresh()

    def stop(self) -> Deferred[None] | None:
        """Stop following. The Deferred fires when a read under way has ended; None
        where there is none.
        """
        self._running = False
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        return None if self._reading is None else self._end_of(self._reading)

    async def followed(self) -> None:
        """Return when `table` is what the store held at the time of the call, or later.
        Raises StoreError where the list could not be read.
        """
        while self._reading is not None:
            await self._end_of(self._reading)
        if self._problem:
            raise StoreError(self._problem)

    def _end_of(self, reading: Deferred[None]) -> Deferred[None]:
        ended: Deferred[None] = Deferred()
        reading.addBoth(lambda _: ended.callback(None))
        return ended

    def _refresh(self) -> None:
        if self._reading is not None:
            self._stale = True
            return
        self._reading = Deferred.fromCoroutine(self._follow())
        self._reading.addErrback(
            lambda failure: _log.failure("Reading the services failed", failure)
        )
        self._reading.addBoth(self._read_ended)

    def _read_ended(self, _result: object) -> None:
        self._reading = None
        if self._stale and self._running:
            self._stale = False
            self._refresh()

    async def _follow(self) -> None:
        """Read the list once; `_read_ended` reads it again if it has changed since."""
        self._stale = False
        try:
            entry = await self._store.get(KIND, OBJECT_ID)
            entries = raw_entries(entry.value.get(PROPERTY)) if entry else []
            self._problem = ""
        except (StoreError, WireError) as error:
            self._problem = str(error)
            self._emit(ServicesKept(str(error)))
            if self._running and not self._told:
                self._tell(EMPTY)
            return
        if self._running:
            self._put_in_force(ServiceTable.of(entries, self._emit, self._own))

    def _put_in_force(self, table: ServiceTable) -> None:
        if self._loaded and table == self._table:
            return
        self._loaded = True
        self._table = table
        self._emit(ServicesChanged(tuple(service.name for service in table)))
        self._tell(table)

    def _tell(self, table: ServiceTable) -> None:
        self._told = True
        self._changed(table)
