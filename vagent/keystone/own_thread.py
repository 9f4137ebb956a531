"""A thread for one library that blocks.

Started with the first job and never waited for: a Keystone that hangs must hold up
neither the reactor nor the end of the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

Result = TypeVar("Result")
Job = Callable[[], None]


class OwnThread:
    """Runs jobs one after another; answers in the reactor's thread."""

    def __init__(self, name: str, *, reactor: IReactorFromThreads) -> None:
        self._name = name
        self._reactor = reactor
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._started = False

    def __call__(self, work: Callable[[], Result], /) -> Deferred[Result]:
        """Fires with what `work` returns or raises."""
        answered: Deferred[Any] = Deferred()

        def job() -> None:
            try:
                result: Any = work()
            except Exception:  # the caller gets it
                result = Failure()
            self._reactor.callFromThread(answered.callback, result)

        self._jobs.put(job)
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        return answered

    def _run(self) -> None:
        while True:
            self._jobs.get()()
