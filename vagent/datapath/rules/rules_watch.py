"""When to look whether our rules are in force: every second, soon after some program
has changed rules, and when somebody asks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeadlinePassed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vagent.transport.within import within

LOOK_INTERVAL = 1.0
"""Seconds between two looks; where nobody else changed rules, each is one question to
the kernel, some 30 µs."""
SOON = 0.1
"""Seconds between a change of rules, by any program, and a look: those that change
theirs without a pause cost ten looks a second."""
LOOK_DEADLINE = 5.0
"""Seconds that whoever asks waits for a look: a transaction under way comes first."""


class RulesWatch:
    """Looks from `start` to `stop`. `look` never raises; several at once share work.
    `look_at_rules` looks at nothing but rules.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[None]],
        look_at_rules: Callable[[], Awaitable[None]],
        *,
        clock: IReactorTime,
    ) -> None:
        self._look = look
        self._look_at_rules = look_at_rules
        self._soon: IDelayedCall | None = None
        self._clock = clock
        self._next: IDelayedCall | None = None
        self._running = False

    def start(self) -> None:
        """Look from now on."""
        self._running = True
        self._plan()

    def stop(self) -> None:
        """Begin no look any more."""
        self._running = False
        for each in (self._next, self._soon):
            if each is not None and each.active():
                each.cancel()

    def changed(self) -> None:
        """Some program has changed rules, maybe this one."""
        if self._running and (self._soon is None or not self._soon.active()):
            self._soon = self._clock.callLater(SOON, self._begin_soon)

    async def ask(self) -> bool:
        """Look now. False where that took more than LOOK_DEADLINE."""
        try:
            await within(LOOK_DEADLINE, self._look, self._clock)
        except DeadlinePassed:
            return False
        return True

    def _plan(self) -> None:
        self._next = self._clock.callLater(LOOK_INTERVAL, self._begin)

    def _begin_soon(self) -> None:
        Deferred.fromCoroutine(self._look_soon())

    async def _look_soon(self) -> None:
        await self._look_at_rules()

    def _begin(self) -> None:
        Deferred.fromCoroutine(self._look_and_go_on())

    async def _look_and_go_on(self) -> None:
        await self._look()
        if self._running:
            self._plan()
