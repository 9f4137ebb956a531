"""Which provisioned services guests can use; waits until a change is in force."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime

from vagent.datapath.datapath import DataPath
from vagent.errors import KernelError
from vagent.linklocal.resolution import NameFollower
from vagent.linklocal.service import LinkLocalService
from vagent.linklocal.table import NOT_SERVED, UNRESOLVED, NotInForce
from vagent.linklocal.watcher import ServiceWatcher
from vagent.transport.within import within

NAMES_DEADLINE = 2.0
"""Seconds that a change waits for the first look-up of its DNS names. A name without an
answer is no error: Contrail takes it, and it is looked up again."""
NO_FABRIC = "it has neither a fabric address nor a fabric DNS name"


class ServicesInForce:
    """The way of services from the store through the agent into the kernel."""

    def __init__(
        self,
        watcher: ServiceWatcher,
        names: NameFollower,
        data_path: DataPath,
        *,
        clock: IReactorTime,
    ) -> None:
        self._watcher = watcher
        self._names = names
        self._data_path = data_path
        self._clock = clock

    def __repr__(self) -> str:
        return f"<ServicesInForce {len(self._watcher.table)} in the table>"

    async def settle(self) -> None:
        """Return when the kernel serves what the store holds now, and the flows of what
        went have ended. Raises StoreError, and KernelError where the kernel refused
        twice: the first time may be the fault of a tap that has just gone.
        """
        await self._watcher.followed()
        with suppress(DeferredTimeout):  # not_in_force names those without an answer
            await within(NAMES_DEADLINE, self._names.asked, self._clock)
        try:
            await self._data_path.settle()
        except KernelError:
            await self._data_path.settle()

    def not_in_force(self) -> tuple[NotInForce, ...]:
        """The services that guests cannot use, and why."""
        return tuple(self._find())

    def _find(self) -> Iterator[NotInForce]:
        table = self._watcher.table
        for entry in table.left_out:
            yield NotInForce(entry.name, entry.reason, entry.detail)
        for service in table:
            reason, why = self._why_not(service)
            if why:
                yield NotInForce(service.name, reason, why)

    def _why_not(self, service: LinkLocalService) -> tuple[str, str]:
        if not service.fabric_addresses and not service.fabric_dns_name:
            return NOT_SERVED, NO_FABRIC
        why = self._names.why_unresolved(service)
        if why:
            return UNRESOLVED, why
        return NOT_SERVED, self._data_path.why_not_served(service)
