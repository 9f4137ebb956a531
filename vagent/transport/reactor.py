"""The epoll reactor with a shorter way from a readable socket to its protocol.

Twisted wraps every readiness of every socket in `log.callWithLogger`, which sets a
context that names the connection in old-style log lines. We log through
`twisted.logger` and name things ourselves, and the wrapper was a fifth of the CPU time
of a forwarded request (see docs/performance.md). Nearly every event is that there is
something to read and nothing else, so that is looked for first.

Its time is the kernel's monotonic clock. Twisted's is the wall clock: when that is set
back, by an administrator or by NTP after a boot, every timer waits for the time to come
again, be it hours or years.
"""

from __future__ import annotations

import gc
import time
from select import EPOLLIN
from typing import Any

from twisted.logger import Logger

from vagent.transport.without_pyopenssl import without_pyopenssl

with without_pyopenssl():
    from twisted.internet.epollreactor import EPollReactor


def freeze_heap() -> None:
    """What there is now stays, and is not looked at again for cycles.

    To be called when the process is set up: a full collection looks at every object of
    every module, which takes 20 ms and more, while all guests wait.
    """
    gc.collect()
    gc.freeze()


class QuietEpollReactor(EPollReactor):
    """To be installed by the command line, before anything imports a reactor."""

    _log = Logger()

    seconds = staticmethod(time.monotonic)
    """Seconds of a clock that nobody can set; no date. Every timer relies on it."""

    def doIteration(self, timeout: float | None) -> None:
        """As EPollReactor.doPoll, minus the context. Python itself retries EINTR."""
        reactor: Any = self
        find = reactor._selectables.get
        limit = len(reactor._selectables)
        wait = -1 if timeout is None else timeout
        for descriptor, event in reactor._poller.poll(wait, limit):
            selectable = find(descriptor)
            if selectable is None:
                continue  # closed by an earlier event of this turn
            if event == EPOLLIN:
                try:
                    why = selectable.doRead()
                except BaseException as error:  # border: as in Twisted, it is cut
                    self._log.failure("while reading from {what!r}", what=selectable)
                    why = error
                if why:
                    reactor._disconnectSelectable(selectable, why, True)
            else:
                reactor._doReadOrWrite(selectable, descriptor, event)
