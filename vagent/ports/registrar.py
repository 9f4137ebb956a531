"""The only way to change ports: decide, write to disk, put in force, wait for the
kernel.

Whoever changes ports goes through here, so that changes happen one after another and
every port in force is on disk, where a restart finds it. Contrail's sync is here as
well: after `POST /syncports` a client registers all its ports again, and those that it
does not are removed after a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from vagent.errors import (
    ConflictError,
    KernelError,
    LimitError,
    StoreError,
    VagentError,
    WireError,
)
from vagent.observe.event import Emit
from vagent.ports.codec import PortRecord
from vagent.ports.events import (
    AddressLearned,
    PortFilesFollowed,
    PortFileSkipped,
    PortJournalFailed,
    PortsRestored,
    PortsUnsettled,
    StalePortsRemoved,
)
from vagent.ports.journal import FileChanges, Journal
from vagent.ports.port import Address, Port, PortOwner, Registration, Slot
from vagent.ports.registry import PortRegistry
from vagent.transport.within import within

SETTLE_DEADLINE = 5.0
"""Seconds that a caller waits for the kernel; 1,000 ports take it under one."""
STALE_AFTER = 60.0
"""Seconds from a sync until ports that were not registered again are removed
(Contrail's `stale_interface_cleanup_timeout`)."""

LOOK_AGAIN = 5.0
"""Seconds between two looks at the port files. One costs a stat of each folder and of
each file (5,000 files: 12 ms in their thread), and a listing where the folder has
changed."""

Settle = Callable[[], Awaitable[None]]
"""Returns once the kernel has what the registry has."""


class Registrar:
    """Changes ports. `stop` ends its timer."""

    def __init__(
        self,
        registry: PortRegistry,
        journal: Journal,
        *,
        settle: Settle,
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self.registry = registry
        self._journal = journal
        self._settle = settle
        self._emit = emit
        self._clock = clock
        self._lock: DeferredLock = DeferredLock()
        self._unseen: set[str] = set()
        self._sweep: IDelayedCall | None = None
        self._next_look: IDelayedCall | None = None
        self._is_stopped = False
        self._look_failures: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Registrar {self.registry!r} {len(self._unseen)} unseen since sync>"

    async def restore(self) -> int:
        """Register the ports that are on disk, at start, and return how many. Does not
        wait for the kernel.

        A port keeps its identity address if its file names one that no other port has.
        A file that contradicts an earlier one is reported and left alone. Raises
        StoreError only if the folder cannot be read.
        """
        async with self._lock:
            records = await self._journal.load()
            wanted: dict[Slot, IPv4Address] = {}
            for record in records:
                wanted |= record.identities()
            held = self.registry.hold(wanted)
            restored = [
                registration
                for record in sorted(records, key=_is_watchers)
                if (registration := self._restore(record.port, held)) is not None
            ]
            unsaved = self._journal.unsaved
            new = [
                each
                for each in restored
                if each.port.id in unsaved or not _has(each, wanted)
            ]
            try:
                await self._journal.write(new)
            except StoreError as error:
                self._emit(PortJournalFailed(str(error)))
        self._emit(PortsRestored(len(restored)))
        return len(restored)

    async def add(self, ports: Iterable[Port]) -> tuple[Registration, ...]:
        """Register all or none, durably, and wait for the kernel.

        Raises ConflictError, LimitError or StoreError with nothing changed, and
        KernelError where the ports are registered but the kernel has not taken them.
        """
        async with self._lock:
            registrations = await self._register(tuple(ports))
        await self._settled()
        return registrations

    async def remove(
        self, port_ids: Iterable[str], *, owner: PortOwner | None = None
    ) -> tuple[Registration, ...]:
        """Remove ports durably, all or none. Returns those that there were; unknown ids
        do not matter. If `owner` is given, ports of others stay.

        Raises StoreError with nothing changed. If the kernel does not take the change
        in time, that is reported and not raised: it is repeated until the kernel takes
        it.
        """
        async with self._lock:
            removed = await self._take_out(
                tuple(i for i in port_ids if self._belongs(i, owner))
            )
        await self._settled_or_reported(removed)
        return removed

    async def set_link(
        self, port_id: str, *, up: bool, kind: int
    ) -> Registration | None:
        """Set the link state of a port of this type; None where it is not there.

        Raises WireError where the port is of another type, else as `add`.
        """
        async with self._lock:
            found = self.registry.get(port_id)
            if found is None:
                return None
            if found.port.kind != kind:
                raise WireError(f"Incorrect Port type for {port_id}")
            changed = await self._register((replace(found.port, link_up=up),))
        await self._settled()
        return changed[0]

    async def learn(self, port_id: str, address: Address) -> None:
        """Let a port that learns have the address that its guest uses, durably, in
        place of the one of that IP version that it had. Does nothing where the port is
        gone, does not learn, or has the address.

        Raises StoreError and LimitError with nothing changed. A kernel that does not
        take the change in time is reported.
        """
        async with self._lock:
            found = self.registry.get(port_id)
            if found is None or not found.port.learn:
                return
            if address in found.port.addresses:
                return
            port = found.port.with_learned(address)
            unseen = self._unseen & {port_id}
            changed = await self._register((port,))
            self._unseen |= unseen  # the guest is seen, not the client
            before = set(found.port.addresses).difference(port.addresses)
            self._emit(
                AddressLearned(
                    port_id, port.tap, str(address), next(map(str, before), "")
                )
            )
        await self._settled_or_reported(changed)

    def sync(self) -> None:
        """From now on, a port that is not added again within STALE_AFTER is removed; if
        its file cannot be removed then, every STALE_AFTER seconds until it can. Those
        of the watcher stay: no client of Contrail's knows of them.
        """
        self.stop()
        self._unseen = {
            registration.port.id
            for registration in self.registry.registrations()
            if registration.port.owner is not PortOwner.WATCHER
        }
        self._sweep = self._clock.callLater(STALE_AFTER, self._start_sweep)

    def follow_files(self) -> None:
        """Look now, and then every LOOK_AGAIN seconds, what other programs do to the
        port files: `vrouter-port-control` writes one and takes a port API that does
        not answer for success.
        """
        self._next_look = None
        Deferred.fromCoroutine(self._follow_files()).addErrback(self._report_look)

    def stop(self) -> None:
        """Follow no files any more, and end a sync that is under way: nothing will be
        removed.
        """
        self._is_stopped = True
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        if self._sweep is not None and self._sweep.active():
            self._sweep.cancel()
        self._sweep = None
        self._unseen = set()

    def _belongs(self, port_id: str, owner: PortOwner | None) -> bool:
        found = self.registry.get(port_id)
        return owner is None or found is None or found.port.owner is owner

    def _restore(self, port: Port, held: Mapping[Slot, int]) -> Registration | None:
        try:
            plan = self.registry.plan([port], held=held)
        except (ConflictError, LimitError) as error:
            for slot in held.keys() & port.slots:
                self.registry.release(held[slot])
            path = str(self._journal.directory / port.id)
            self._emit(PortFileSkipped(path, str(error)))
            return None
        self.registry.commit(plan)
        return plan.registrations[0]

    async def _register(self, ports: tuple[Port, ...]) -> tuple[Registration, ...]:
        plan = self.registry.plan(ports)
        try:
            await self._journal.write(plan.registrations)
        except StoreError as error:
            self.registry.abandon(plan)
            self._emit(PortJournalFailed(str(error)))
            raise
        self._unseen.difference_update(port.id for port in ports)
        self.registry.commit(plan)
        return plan.registrations

    async def _take_out(self, port_ids: tuple[str, ...]) -> tuple[Registration, ...]:
        try:
            await self._journal.delete(port_ids)
        except StoreError as error:
            self._emit(PortJournalFailed(str(error)))
            raise
        self._unseen.difference_update(port_ids)
        return tuple(
            old for i in port_ids if (old := self.registry.remove(i)) is not None
        )

    async def _settled(self) -> None:
        """Wait until the kernel has the change, at most SETTLE_DEADLINE seconds. After
        that the work itself goes on. Raises KernelError.
        """
        try:
            await within(SETTLE_DEADLINE, self._settle, self._clock)
        except DeferredTimeout as error:
            raise KernelError(
                "registered, but the kernel has not taken it within "
                f"{SETTLE_DEADLINE:g} s"
            ) from error

    async def _settled_or_reported(self, removed: tuple[Registration, ...]) -> None:
        if not removed:
            return
        try:
            await self._settled()
        except VagentError as error:
            self._emit(PortsUnsettled(str(error)))

    async def _follow_files(self) -> None:
        try:
            async with self._lock:
                changes = await self._journal.changes()
                gone = tuple(i for i in changes.gone if self.registry.get(i))
                removed = await self._take_out_what_goes(gone) if gone else ()
                added = [
                    registration
                    for record in changes.appeared
                    for registration in await self._register_from_file(record.port)
                ]
            self._tell_of_files(changes, len(added), len(removed))
            await self._settled_or_reported((*removed, *added))
        finally:
            if not self._is_stopped:
                self._next_look = self._clock.callLater(LOOK_AGAIN, self.follow_files)

    async def _register_from_file(self, port: Port) -> tuple[Registration, ...]:
        try:
            return await self._register((port,))
        except (ConflictError, LimitError) as error:
            path = str(self._journal.directory / port.id)
            self._emit(PortFileSkipped(path, str(error)))
        except StoreError:
            pass  # it is reported
        return ()

    def _tell_of_files(self, changes: FileChanges, added: int, removed: int) -> None:
        for skipped in changes.skipped:
            self._emit(skipped)
        if changes.failures != self._look_failures:  # else it would be told for ever
            for failure in changes.failures:
                self._emit(PortJournalFailed(failure))
        self._look_failures = changes.failures
        if added or removed:
            self._emit(PortFilesFollowed(added, removed))

    def _report_look(self, failure: Failure) -> None:
        self._emit(PortsUnsettled(f"port files: {failure.value!r}"))

    def _start_sweep(self) -> None:
        self._sweep = None
        Deferred.fromCoroutine(self._remove_unseen()).addErrback(self._report)

    async def _remove_unseen(self) -> None:
        async with self._lock:
            removed = await self._take_out_what_goes(tuple(self._unseen))
            if self._unseen and self._sweep is None:
                self._sweep = self._clock.callLater(STALE_AFTER, self._start_sweep)
        if removed or not self._unseen:
            self._emit(StalePortsRemoved(len(removed)))
        await self._settled_or_reported(removed)

    async def _take_out_what_goes(
        self, port_ids: tuple[str, ...]
    ) -> tuple[Registration, ...]:
        """As `_take_out`; if that fails, one port at a time, leaving those out whose
        files cannot be removed.
        """
        try:
            return await self._take_out(port_ids)
        except StoreError:
            if len(port_ids) == 1:
                return ()
        removed: list[Registration] = []
        for port_id in port_ids:
            removed += await self._take_out_what_goes((port_id,))
        return tuple(removed)

    def _report(self, failure: Failure) -> None:
        self._emit(PortsUnsettled(f"sweep of stale ports: {failure.value!r}"))


def _is_watchers(record: PortRecord) -> bool:
    return record.port.owner is PortOwner.WATCHER


def _has(registration: Registration, wanted: Mapping[Slot, IPv4Address]) -> bool:
    """Does a port that came back have the identity addresses that its file names?"""
    return all(
        wanted.get(slot) == registration.identity_at(index)
        for slot, index in zip(
            registration.port.slots, registration.indexes, strict=True
        )
    )
