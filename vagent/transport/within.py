"""Waits for work that goes on when nobody waits for it any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

Result = TypeVar("Result")


async def within(
    seconds: float, work: Callable[[], Awaitable[Result]], clock: IReactorTime
) -> Result:
    """What `work` returns, or raises. Raises twisted's TimeoutError after so many
    seconds; the work itself goes on.
    """

    async def run() -> Result:
        return await work()

    waiting: Deferred[Result] = Deferred()

    def ended(result: Result | Failure) -> None:
        if not waiting.called:
            waiting.callback(result)

    Deferred.fromCoroutine(run()).addBoth(ended)
    return await waiting.addTimeout(seconds, clock)
