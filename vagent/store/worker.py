"""One thread for calls that block: an fsync must never stall the reactor.

It is one thread and not several, so that jobs run in the order in which they were given
and a read after a write sees the write.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

Result = TypeVar("Result")


class RunInThread(Protocol):
    """Runs a blocking function in another thread: a Worker, or what a test puts in its
    place.
    """

    def __call__(self, work: Callable[[], Result], /) -> Awaitable[Result]:
        """What `work` returns or raises."""


class Worker:
    """Runs jobs one after another in its own thread; answers in the reactor's."""

    def __init__(self, name: str, *, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=1, maxthreads=1, name=name)

    def start(self) -> None:
        """Start the thread. It does not keep a stopped process alive."""
        self._pool.start()

    def stop(self) -> None:
        """Wait for the jobs given so far and end the thread."""
        self._pool.stop()

    def __call__(self, job: Callable[[], Result]) -> Deferred[Result]:
        """Fires with the job's result or failure."""
        return deferToThreadPool(cast("Any", self._reactor), self._pool, job)
