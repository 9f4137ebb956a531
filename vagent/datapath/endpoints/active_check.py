"""Active health check: the agent connects to fabric endpoints, where agent.conf asks.

It connects to provisioned endpoints and to nothing else, a few at a time, sends nothing
and resets the connection at once. `health` decides what an outcome means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from vagent.config.model import EndpointCheckConfig
from vagent.datapath.state import LISTENER, NatEndpoint, Services

MAX_AT_ONCE = 64
"""Connections that are made at one time: with the default timeout 1,000 dead endpoints
take some 30 s, and as many that work a fraction of a second."""
EVERY = "*"
"""In agent.conf stands for all services."""

Connect = Callable[[NatEndpoint, float], Deferred[None]]
"""Connects to an endpoint within so many seconds and hangs up; the Deferred fails if
that does not work."""


class EndpointChecks:
    """Checks the endpoints of `follow` in every interval, from `start` to `stop`. Calls
    `checked` with the number of an endpoint, `passed`, and `why` it did not.
    """

    def __init__(
        self,
        config: EndpointCheckConfig,
        *,
        connect: Connect,
        checked: Callable[..., None],
        clock: IReactorTime,
    ) -> None:
        self._config = config
        self._connect = connect
        self._checked = checked
        self._endpoints: Mapping[int, NatEndpoint] = {}
        self._under_way: set[Deferred[None]] = set()
        self._loop = LoopingCall(self._check_all)
        self._loop.clock = clock

    def __repr__(self) -> str:
        return f"<EndpointChecks of {len(self._endpoints)} endpoints>"

    def start(self) -> None:
        """Begin, if agent.conf names any service."""
        if self._config.services:
            self._loop.start(self._config.interval)

    def stop(self) -> None:
        """End, and drop the connections under way."""
        if self._loop.running:
            self._loop.stop()
        self._endpoints = {}
        for connection in [*self._under_way]:
            connection.cancel()

    def follow(self, services: Services) -> None:
        """These services are provisioned now."""
        numbers = {
            number
            for offer in services.offers.values()
            if self._is_checked(offer.service)
            for number in offer.endpoints
            if number != LISTENER
        }
        self._endpoints = {
            each.number: each for each in services.endpoints if each.number in numbers
        }

    def _is_checked(self, service: str) -> bool:
        return EVERY in self._config.services or service in self._config.services

    def _check_all(self) -> Deferred[Any]:
        waiting = iter([*self._endpoints])
        lanes = range(min(MAX_AT_ONCE, len(self._endpoints)))
        return gatherResults(
            [Deferred.fromCoroutine(self._check_some(waiting)) for _ in lanes]
        )

    async def _check_some(self, waiting: Iterator[int]) -> None:
        for number in waiting:
            endpoint = self._endpoints.get(number)
            if endpoint is not None:
                await self._check(endpoint)

    async def _check(self, endpoint: NatEndpoint) -> None:
        connection = self._connect(endpoint, self._config.timeout)
        self._under_way.add(connection)
        try:
            await connection
        except CancelledError:
            return
        except (ConnectError, OSError) as failure:
            why = str(failure) or type(failure).__name__
            self._report(endpoint, passed=False, why=why)
            return
        finally:
            self._under_way.discard(connection)
        self._report(endpoint, passed=True)

    def _report(self, endpoint: NatEndpoint, *, passed: bool, why: str = "") -> None:
        # Meanwhile the endpoint may be gone, or its number be that of another.
        if self._endpoints.get(endpoint.number) == endpoint:
            self._checked(endpoint.number, passed=passed, why=why)


def connector(reactor: Any) -> Connect:
    """A `Connect` that makes real connections."""

    def connect(endpoint: NatEndpoint, timeout: float) -> Deferred[None]:
        # Not twisted.internet.endpoints, which loads a second TLS library.
        attempt: Deferred[None] = Deferred(lambda _: begun.disconnect())
        begun = reactor.connectTCP(
            str(endpoint.address), endpoint.port, _Attempt(attempt), timeout=timeout
        )
        return attempt

    return connect


class _Attempt(ClientFactory):
    """Hangs up as soon as the connection is made, and ends `attempt`."""

    noisy = False

    def __init__(self, attempt: Deferred[None]) -> None:
        self._attempt = attempt

    def buildProtocol(self, addr: object) -> Protocol:
        return _HangUp(self._attempt)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        if not self._attempt.called:
            self._attempt.errback(reason)


class _HangUp(Protocol):
    def __init__(self, attempt: Deferred[None]) -> None:
        self._attempt = attempt

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()
        if not self._attempt.called:
            self._attempt.callback(None)
