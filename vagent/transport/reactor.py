"""Twisted's epoll reactor with less work for each event of a socket.

Twisted handles each event of a socket inside `log.callWithLogger`, which names the
connection for old-style log lines. This project logs through `twisted.logger` and needs
no such context, and it took a fifth of the CPU time of a forwarded request (see
docs/performance.md). Nearly every event says only that a socket is readable, so that
case is handled first.

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
    """Exclude all objects that exist now from garbage collection.

    To be called once the process is set up: a full collection looks at every object of
    every module, which takes 20 ms and more, and all guests wait meanwhile.
    """
    gc.collect()
    gc.freeze()


class QuietEpollReactor(EPollReactor):
    """Must be installed before anything imports `twisted.internet.reactor`."""

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
                except BaseException as error:  # as in Twisted, close it
                    self._log.failure("while reading from {what!r}", what=selectable)
                    why = error
                if why:
                    reactor._disconnectSelectable(selectable, why, True)
            else:
                reactor._doReadOrWrite(selectable, descriptor, event)
