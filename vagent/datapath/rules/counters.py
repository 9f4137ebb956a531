"""What the kernel's rules do without the agent, looked at from time to time.

Named counters of our tables and the queue's drops become numbers for the pages, and a
trace line where packets were refused since the last look. Counters that are not there
any more mean that somebody took our tables away (`nft flush ruleset`).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vagent.datapath.events import CountFailed
from vagent.datapath.names import Names
from vagent.datapath.rules.events import KernelRefused, RulesLost
from vagent.datapath.system import System
from vagent.observe.event import Emit

INTERVAL = 5.0
"""Seconds between two looks: one child process of some 5 ms each."""
COUNTERS = (
    "spoofed",
    "claimed",
    "unknown_identity",
    "foreign_identity",
    "no_agent",
    "too_fast",
    "refused",
    "untracked",
    "untranslated",
    "from_host",
)
"""Named counters of our tables (`vagent.datapath.rules.render`)."""
QUEUE_DROPS = "queue_drops"
_ASKED_FOR = frozenset({"refused"})
"""Consequences of verdicts that were traced already."""


class KernelWatch:
    """Looks every INTERVAL from `start` to `stop`. `packets` is the last picture;
    `lost` is called when our tables are gone, `looked` each time.
    """

    def __init__(
        self,
        names: Names,
        *,
        system: System,
        lost: Callable[[], None],
        looked: Callable[[], None],
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._lost = lost
        self._looked = looked
        self._names = names
        self._system = system
        self._emit = emit
        self._clock = clock
        self._next: IDelayedCall | None = None
        self._running = False
        self.packets = dict.fromkeys((*COUNTERS, QUEUE_DROPS), 0)

    def __repr__(self) -> str:
        return f"<KernelWatch {self.packets}>"

    def read(self, name: str) -> Callable[[], float]:
        """A gauge's call-back for one of the numbers."""
        return lambda: self.packets[name]

    def start(self) -> None:
        """Begin to look."""
        self._running = True
        self._next = self._clock.callLater(INTERVAL, self._begin)

    def stop(self) -> None:
        """End it; a look under way tells nobody any more."""
        self._running = False
        if self._next is not None and self._next.active():
            self._next.cancel()

    async def look(self) -> None:
        """Read once, and report what is new."""
        try:
            fresh = await self._system.counters(self._names.table)
            fresh[QUEUE_DROPS] = self._system.queue_drops(self._names.queue_number)
        except Exception as failure:  # border: the next look may succeed
            self._emit(CountFailed(str(failure)))
            return
        if any(name not in fresh for name in COUNTERS):
            self._emit(RulesLost())
            self._lost()
        for name, before in self.packets.items():
            now = fresh.get(name, 0)
            # Rules that were replaced count from zero again.
            grown = now - before if now >= before else now
            if grown and name not in _ASKED_FOR:
                self._emit(KernelRefused(name, grown, INTERVAL))
            self.packets[name] = now

    def _begin(self) -> None:
        Deferred.fromCoroutine(self._look_and_go_on())

    async def _look_and_go_on(self) -> None:
        await self.look()
        self._looked()
        if self._running:
            self._next = self._clock.callLater(INTERVAL, self._begin)
