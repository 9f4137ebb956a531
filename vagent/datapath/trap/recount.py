"""Asks the kernel how many flows each guest has, when `flow_limits` says it is time.

The kernel alone knows which flows have ended. Its answer also shows flows of ports that
are not registered any more: those that an agent before this one did not get to end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vagent.datapath.events import CountFailed
from vagent.datapath.trap.flow_limits import FlowLimits
from vagent.observe.event import Emit
from vagent.ports.port import Registration

CountFlows = Callable[[], Awaitable[Mapping[int, int]]]
"""How many flows the kernel has of each index."""


class FlowRecount:
    """Corrects `limits`; `guests` has the registered ports by index."""

    def __init__(
        self,
        limits: FlowLimits,
        *,
        count_flows: CountFlows,
        guests: Mapping[int, Registration],
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._limits = limits
        self._count_flows = count_flows
        self._guests = guests
        self._emit = emit
        self._clock = clock

    def at_ceiling(self) -> None:
        """A guest or the host has all the flows that it may have: have some ended?"""
        if self._limits.begin_recount(self._clock.seconds()):
            Deferred.fromCoroutine(self._recount())

    def from_time_to_time(self) -> None:
        """Keep the numbers right that are shown; called every few seconds."""
        if self._limits.begin_usual_recount(self._clock.seconds()):
            Deferred.fromCoroutine(self._recount())

    async def _recount(self) -> None:
        try:
            alive: Counter[int] = Counter()
            for index, count in (await self._count_flows()).items():
                registration = self._guests.get(index)
                alive[index if registration is None else registration.index] += count
            self._limits.recounted(alive)
        except Exception as failure:  # border: the ceiling holds until a count succeeds
            self._limits.not_counted()
            self._emit(CountFailed(str(failure)))
