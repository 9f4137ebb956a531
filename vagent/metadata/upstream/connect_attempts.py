"""Connects to upstream endpoints, for waiting requests and for health checks."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from vagent.errors import UpstreamError
from vagent.metadata.upstream.connection import UpstreamConnection
from vagent.metadata.upstream.connector import UpstreamConnector
from vagent.metadata.upstream.endpoint import UpstreamEndpoint
from vagent.metadata.upstream.health_check import Probe
from vagent.metadata.upstream.times import UpstreamTimes
from vagent.observe.statistics import AT_A_TIME, Histogram

Connected = Callable[[UpstreamEndpoint, UpstreamConnection, Probe | None], None]
"""Called with a new connection, and the health check that it was opened for."""
NotConnected = Callable[[UpstreamEndpoint, str], None]
"""Called with the reason why there is no connection."""


class ConnectAttempts:
    """Opens connections, counts them in `breaker.connecting` while they are being
    opened, and calls `connected` or `failed` with the outcome. `now` is the clock by
    which `times` are taken.
    """

    _log = Logger()

    def __init__(
        self,
        connector: UpstreamConnector,
        *,
        connected: Connected,
        failed: NotConnected,
        times: UpstreamTimes,
        now: Callable[[], float],
    ) -> None:
        self._connector = connector
        self._connected = connected
        self._failed = failed
        self._times = times
        self._now = now
        self._attempts: set[Deferred[None]] = set()

    def begin(self, endpoint: UpstreamEndpoint, probe: Probe | None = None) -> None:
        """Open a connection, for this health check if one is given."""
        endpoint.breaker.connecting += 1
        attempt = Deferred.fromCoroutine(self._connect(endpoint, probe))
        self._attempts.add(attempt)
        attempt.addErrback(
            lambda failure: self._log.failure("new connection", failure=failure)
        )
        attempt.addBoth(lambda _: self._attempts.discard(attempt))

    def cancel(self) -> None:
        """End every attempt; each of them fails."""
        for attempt in list(self._attempts):
            attempt.cancel()

    async def _connect(self, endpoint: UpstreamEndpoint, probe: Probe | None) -> None:
        begun = self._now()
        try:
            connection = await self._connector.connect(endpoint)
        except UpstreamError as error:
            self._end(endpoint, probe, str(error), begun)
        except Exception as error:  # whatever it is, the attempt has failed
            self._log.failure("connecting to {endpoint}", endpoint=endpoint)
            self._end(endpoint, probe, str(error), begun)
        else:
            self._time(self._times.connected, begun)
            endpoint.breaker.connecting -= 1
            if connection.is_open:
                self._connected(endpoint, connection, probe)
            elif probe is not None:
                probe.over("closed at once")

    def _end(
        self, endpoint: UpstreamEndpoint, probe: Probe | None, why: str, begun: float
    ) -> None:
        self._time(self._times.not_connected, begun)
        endpoint.breaker.connecting -= 1
        if probe is not None:
            probe.over(why)
        self._failed(endpoint, why)

    def _time(self, histogram: Histogram, begun: float) -> None:
        histogram.pending.append(self._now() - begun)
        if len(histogram.pending) >= AT_A_TIME:
            histogram.fold()
