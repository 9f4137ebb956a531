"""How guests share the connections to an endpoint, of which there are only so many.

A connection that has become idle may serve another guest only after a quiet time
(`IdleConnections`). So requests may wait beside connections that they cannot have: here
is decided when such a connection has to go for a new one, and who has to wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vagent.metadata.upstream.circuit_breaker import BreakerState
from vagent.metadata.upstream.connection import UpstreamConnection
from vagent.metadata.upstream.endpoint import UpstreamEndpoint
from vagent.metadata.upstream.forwarded_request import ForwardedRequest
from vagent.metadata.upstream.wait_queue import WaitQueue

_SHORTEST = 0.001
"""Seconds: a timer may fire a little too early."""


def lacks_new(queue: WaitQueue, endpoint: UpstreamEndpoint) -> bool:
    """Are fewer new connections coming than waiting requests need?"""
    return endpoint.coming < queue.needing_fresh


def lacks_any(queue: WaitQueue, endpoint: UpstreamEndpoint) -> bool:
    """Do requests wait for which no connection will be there?

    Then one that is bound to its guest has to go, where there can be no more, or they
    would wait until their time is up.
    """
    there = endpoint.coming + endpoint.idle.unbound
    return lacks_new(queue, endpoint) or there < queue.size


def may_overtake(queue: WaitQueue, endpoint: UpstreamEndpoint) -> bool:
    """May a new request use an idle connection, though others may wait already?

    Not where those that wait would then lack one: a guest that always has a next
    request for its connections would otherwise keep all others waiting.
    """
    if not queue.size or not endpoint.is_full:
        return True
    return endpoint.coming + endpoint.idle.unbound > queue.size


class QuietHandOver:
    """Gives connections that have been quiet for long enough to requests that wait.

    `send` sends a request that was taken from the queue.
    """

    def __init__(
        self,
        queue: WaitQueue,
        send: Callable[[ForwardedRequest, UpstreamConnection], None],
        clock: IReactorTime,
    ) -> None:
        self._queue = queue
        self._send = send
        self._clock = clock
        self._call: IDelayedCall | None = None

    def watch(self, endpoints: Sequence[UpstreamEndpoint]) -> None:
        """Requests wait, or a connection has become idle: see that they meet."""
        if self._call is not None or not self._queue.size:
            return
        times = [
            when
            for one in endpoints
            if _is_used(one) and (when := one.idle.next_quiet) is not None
        ]
        if times:
            delay = max(min(times) - self._clock.seconds(), _SHORTEST)
            self._call = self._clock.callLater(delay, self._due, endpoints)

    def stop(self) -> None:
        """Cancel the timer."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _due(self, endpoints: Sequence[UpstreamEndpoint]) -> None:
        self._call = None
        for endpoint in endpoints:
            if _is_used(endpoint):
                self._hand_over(endpoint)
        self.watch(endpoints)

    def _hand_over(self, endpoint: UpstreamEndpoint) -> None:
        queue = self._queue
        while request := queue.first(endpoint.breaker, is_new=False):
            connection = endpoint.idle.take_quiet()
            if connection is None:
                return
            queue.remove(request, is_sent=True)
            self._send(request, connection)


def _is_used(endpoint: UpstreamEndpoint) -> bool:
    return endpoint.breaker.state is not BreakerState.DOWN
