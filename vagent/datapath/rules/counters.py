"""Reads from time to time what our rules, the tap programs and NFQUEUE dropped.

They tell what the rules do without the agent: numbers for the pages, and a trace where
packets were refused since the last look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vagent.datapath.events import CountFailed
from vagent.datapath.names import Names
from vagent.datapath.rules.events import KernelRefused
from vagent.datapath.system import System
from vagent.datapath.tap.layout import DropReason
from vagent.observe.event import Emit

INTERVAL = 5.0
"""Seconds between two looks; each takes a child process, some 5 ms."""
AT_TAPS = tuple(reason.word for reason in DropReason)
"""The counters of the tap programs."""
COUNTERS = (
    *AT_TAPS,
    "foreign_identity",
    "no_agent",
    "too_fast",
    "refused",
    "untracked",
    "untranslated",
    "from_host",
)
"""Those, and the named counters of our tables."""
QUEUE_DROPS = "queue_drops"
_FROM_VERDICTS = frozenset({"refused"})
"""Counters of what the agent's own verdicts bring about, which are traced already."""


class KernelWatch:
    """Looks every INTERVAL seconds from `start` to `stop`. `packets` holds the numbers
    of the last look. `drops` gives those of the tap programs, by DropReason's word.
    `looked` is called after each look.
    """

    def __init__(
        self,
        names: Names,
        *,
        inside: System,
        host: System,
        drops: Callable[[], Mapping[str, int]],
        looked: Callable[[], None],
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._drops = drops
        self._looked = looked
        self._names = names
        self._inside = inside
        self._host = host
        self._emit = emit
        self._clock = clock
        self._next: IDelayedCall | None = None
        self._running = False
        self.packets = dict.fromkeys((*COUNTERS, QUEUE_DROPS), 0)

    def __repr__(self) -> str:
        return f"<KernelWatch {self.packets}>"

    def read(self, name: str) -> Callable[[], float]:
        """A function that returns one of the numbers, for a gauge."""
        return lambda: self.packets[name]

    def start(self) -> None:
        """Read the counters every INTERVAL seconds from now on."""
        self._running = True
        self._next = self._clock.callLater(INTERVAL, self._begin)

    def stop(self) -> None:
        """Stop reading the counters."""
        self._running = False
        if self._next is not None and self._next.active():
            self._next.cancel()

    async def look(self) -> None:
        """Read the counters once, and report what is new."""
        try:
            fresh = await self._inside.counters(self._names.table)
            for name, packets in (await self._host.counters(self._names.table)).items():
                fresh[name] = fresh.get(name, 0) + packets
            fresh |= self._drops()
            fresh[QUEUE_DROPS] = self._inside.queue_drops(self._names.queue_number)
        except Exception as failure:  # the next look may succeed
            self._emit(CountFailed(str(failure)))
            return
        for name, before in self.packets.items():
            now = fresh.get(name, 0)
            # After the rules were replaced the kernel counts from zero.
            grown = now - before if now >= before else now
            if grown and name not in _FROM_VERDICTS:
                self._emit(KernelRefused(name, grown, INTERVAL))
            self.packets[name] = now

    def _begin(self) -> None:
        Deferred.fromCoroutine(self._look_and_go_on())

    async def _look_and_go_on(self) -> None:
        await self.look()
        self._looked()
        if self._running:
            self._next = self._clock.callLater(INTERVAL, self._begin)
