"""The epoll reactor without a logging context around each event.

Twisted wraps every readiness of every socket in `log.callWithLogger`, which sets a
context that names the connection in old-style log lines. We log through
`twisted.logger` and name things ourselves, and the wrapper was a fifth of the CPU time
of a forwarded request (see docs/performance.md). Errors are still caught and logged by
the reactor itself.
"""

from __future__ import annotations

from typing import Any

from vagent.metadata.without_pyopenssl import without_pyopenssl

with without_pyopenssl():
    from twisted.internet.epollreactor import EPollReactor


class QuietEpollReactor(EPollReactor):
    """To be installed by the command line, before anything imports a reactor."""

    def doIteration(self, timeout: float | None) -> None:
        """As EPollReactor.doPoll, minus the context. Python itself retries EINTR."""
        reactor: Any = self
        find = reactor._selectables.get
        read_or_write = reactor._doReadOrWrite
        limit = len(reactor._selectables)
        wait = -1 if timeout is None else timeout
        for descriptor, event in reactor._poller.poll(wait, limit):
            selectable = find(descriptor)
            if selectable is not None:
                read_or_write(selectable, descriptor, event)
