"""Asks the kernel how many flows each guest has, when `flow_limits` says it is time.

The kernel alone knows which flows have ended. Its answer may also show flows of an
index that no port has: those of a port that went while the agent was killed or away,
which nobody has ended yet.
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
    """Corrects `limits`. `guests` has the registered ports by index; `end_flows_of` is
    called for every other index that has flows.
    """

    def __init__(
        self,
        limits: FlowLimits,
        *,
        count_flows: CountFlows,
        guests: Mapping[int, Registration],
        end_flows_of: Callable[[int], None],
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._limits = limits
        self._count_flows = count_flows
        self._guests = guests
        self._end_flows_of = end_flows_of
        self._emit = emit
        self._clock = clock

    def at_start(self) -> None:
        """Count what an earlier agent let in. The interval does not begin here: if a
        ceiling is reached right after this, flows are counted again.
        """
        if self._limits.begin_recount(0.0):
            Deferred.fromCoroutine(self._recount())

    def at_ceiling(self) -> None:
        """A guest or the host has all the flows that it may have: have some ended? At
        most once in an interval that `limits` knows.
        """
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
                if registration is None:
                    self._end_flows_of(index)
                else:
                    alive[registration.index] += count
            self._limits.recounted(alive)
        except Exception as failure:  # the ceiling holds until a count succeeds
            self._limits.not_counted()
            self._emit(CountFailed(str(failure)))
