"""Single flight: those who ask for the same thing at the same time share one piece of
work, and it goes on when one of them leaves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """Work under way, by what it is for."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[Deferred[Result]]] = {}

    def __len__(self) -> int:
        """How many pieces of work are under way."""
        return len(self._waiting)

    async def run(self, key: Hashable, work: Callable[[], Awaitable[Result]]) -> Result:
        """What `work` returns or raises; not started where it is under way already.

        Cancelling this ends the wait of one, never the work.
        """
        waiter: Deferred[Result] = Deferred()
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(waiter)
            return await waiter
        self._waiting[key] = [waiter]

        async def fly() -> Result:
            return await work()

        Deferred.fromCoroutine(fly()).addBoth(self._landed, key)
        return await waiter

    def _landed(self, result: Any, key: Hashable) -> None:
        for waiter in self._waiting.pop(key):
            if waiter.called:  # cancelled
                continue
            if isinstance(result, Failure):
                waiter.errback(result)
            else:
                waiter.callback(result)
