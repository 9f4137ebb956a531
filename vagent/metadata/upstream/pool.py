"""Upstream connections: which are open, which are idle, who waits for one.

Thin: `health` chooses, `retry` judges, this opens and hands over. A request that finds
no idle connection waits in one queue, whether a connection is being opened, all are
busy, or every endpoint is down; a failed connect therefore never fails a request, it
only goes on waiting, and is answered 503 when its time is up.
"""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from vagent.config.model import MetadataProxyConfig
from vagent.errors import UpstreamError
from vagent.metadata.limits import (
    MAX_UPSTREAM_CONNECTIONS,
    RETRY_SECONDS,
)
from vagent.metadata.upstream.circuit_breaker import (
    BreakerState,
    CircuitBreaker,
    Observation,
    choose,
)
from vagent.metadata.upstream.connect import Dialler
from vagent.metadata.upstream.connection import UpstreamConnection
from vagent.metadata.upstream.endpoint import EndpointSnapshot, UpstreamEndpoint
from vagent.metadata.upstream.events import (
    ForwardFailed,
    UpstreamEndpointChanged,
    UpstreamEndpointFailed,
    UpstreamEndpointProbed,
)
from vagent.metadata.upstream.forwarded_request import ForwardedRequest
from vagent.metadata.upstream.health_check import Probe, ProbeTimer
from vagent.metadata.upstream.retry_policy import UpstreamFailure
from vagent.metadata.upstream.target import HostPort, Target
from vagent.metadata.upstream.wait_queue import WaitQueue
from vagent.observe.event import Emit
from vagent.transport.deadlines import NEVER, Deadlines

_UP, _DOWN = BreakerState.UP, BreakerState.DOWN
"""For every request: looked up by its class a member costs 70 ns in Python 3.11."""


class ConnectionPool:
    """Carries exchanges to the endpoints of the current target."""

    _log = Logger()

    def __init__(
        self,
        config: MetadataProxyConfig,
        *,
        emit: Emit,
        deadlines: Deadlines,
        dialler: Dialler,
    ) -> None:
        self._hold_time = config.hold_time
        self._emit = emit
        self._deadlines = deadlines
        self._dialler = dialler
        self._endpoints: list[UpstreamEndpoint] = []
        self._records: list[CircuitBreaker] = []
        self._retired: set[UpstreamEndpoint] = set()
        self._waiting = WaitQueue(config.max_guest_requests)
        self._dialling: set[Deferred[None]] = set()
        self._emptied: Deferred[None] | None = None
        self._turn = 0
        self._probes = ProbeTimer(config.probe_interval, self._probe_all, deadlines)
        self.deadline = NEVER

    def set_target(self, target: Target | None) -> None:
        """Use these endpoints; those that stay keep their connections and health."""
        known = {(one.address, one.name): one for one in self._endpoints}
        kept = []
        for address in target.endpoints if target else ():
            name = target.name_of(address) if target else ""
            same = known.pop((address, name), None)
            kept.append(same or self._new_endpoint(address, name))
        for endpoint in known.values():
            endpoint.retire()
            if endpoint.connections:
                self._retired.add(endpoint)
        self._endpoints = kept
        self._records = [endpoint.record for endpoint in kept]
        self._probes.run(wanted=bool(kept) and self._emptied is None)
        if not kept:
            for exchange in self._waiting:
                self.withdraw(exchange)
                exchange.give_up(503, "no-service", "the service was removed")
        self._reconsider()

    def submit(self, exchange: ForwardedRequest) -> None:
        """See `Carrier`."""
        endpoint = self._choose(exchange)
        if endpoint is not None and not exchange.needs_fresh:
            connection = endpoint.take_idle()
            if connection is not None:
                self._send(exchange, endpoint, connection)
                return
        if self._wait(exchange):
            if endpoint is not None:
                self._open_for(exchange, endpoint)
            else:
                self._knock()

    def withdraw(self, exchange: ForwardedRequest) -> None:
        """See `Carrier`."""
        if self._waiting.dismiss(exchange):
            self._deadlines.unwatch(exchange)

    def has_other(self, exchange: ForwardedRequest) -> bool:
        """See `Carrier`."""
        tried = (*exchange.avoid, exchange.sent_to)
        return any(
            record.health is not BreakerState.DOWN and record not in tried
            for record in self._records
        )

    def report(self, exchange: ForwardedRequest, reason: str, detail: str) -> None:
        """See `Carrier`."""
        self._emit(ForwardFailed(exchange.request_id, exchange.caller, reason, detail))

    def freed(
        self,
        endpoint: UpstreamEndpoint,
        connection: UpstreamConnection,
        *,
        reusable: bool,
    ) -> None:
        """See `Owner`."""
        record = endpoint.record
        record.busy -= 1
        if record.health is not _UP or record.failures:
            self._note(endpoint, Observation.REPLIED, "replied")
        if connection.served == 1:
            self._dialler.keep_session(endpoint, connection)
        if reusable:
            self._offer(endpoint, connection)

    def failed(
        self, endpoint: UpstreamEndpoint, failure: UpstreamFailure, detail: str
    ) -> None:
        """See `Owner`."""
        endpoint.record.busy -= 1
        if failure is UpstreamFailure.REFUSED:
            self._note(endpoint, Observation.CONNECT_FAILED, detail)
        elif failure is not UpstreamFailure.STALE:
            self._note(endpoint, Observation.REPLY_FAILED, f"{failure.value}: {detail}")

    def abandoned(self, endpoint: UpstreamEndpoint) -> None:
        """See `Owner`."""
        endpoint.record.busy -= 1

    def gone(
        self, endpoint: UpstreamEndpoint, connection: UpstreamConnection, refusal: str
    ) -> None:
        """See `Owner`."""
        endpoint.connections.discard(connection)
        if connection in endpoint.idle:
            endpoint.idle.remove(connection)
        if not endpoint.connections:
            self._retired.discard(endpoint)
        if refusal:
            self._note(endpoint, Observation.CONNECT_FAILED, refusal)
        if self._emptied is not None:
            self._check_emptied()
        elif self._waiting:
            self._reconsider()

    def expired(self) -> None:
        """Time to knock at endpoints that are down."""
        self._knock()

    def snapshot(self) -> tuple[EndpointSnapshot, ...]:
        """The endpoints as they are now."""
        now = self._deadlines.now()
        return tuple(one.snapshot(now) for one in self._endpoints)

    @property
    def is_down(self) -> bool:
        """Is no endpoint worth a try now?"""
        return all(record.health is BreakerState.DOWN for record in self._records)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return len(self._waiting)

    async def stop(self) -> None:
        """Close every connection and end every attempt; returns when all are closed."""
        self._emptied = Deferred()
        self._probes.run(wanted=False)
        for exchange in self._waiting:
            self.withdraw(exchange)
        for attempt in list(self._dialling):
            attempt.cancel()
        for endpoint in (*self._endpoints, *self._retired):
            endpoint.retired = True
            for connection in list(endpoint.connections):
                connection.abort()
        emptied = self._emptied
        self._check_emptied()
        await emptied

    def _check_emptied(self) -> None:
        is_open = any(one.connections for one in (*self._endpoints, *self._retired))
        if self._emptied is not None and not is_open and not self._emptied.called:
            self._emptied.callback(None)

    def _new_endpoint(self, address: HostPort, name: str) -> UpstreamEndpoint:
        port = self._dialler.default_port
        return UpstreamEndpoint(self, address, name, default_port=port)

    def _choose(self, exchange: ForwardedRequest) -> UpstreamEndpoint | None:
        endpoints = self._endpoints
        if len(endpoints) == 1:
            only = endpoints[0]
            return None if only.record.health is _DOWN else only
        self._turn += 1
        now = self._deadlines.now()
        chosen = choose(self._records, now, turn=self._turn, avoid=exchange.avoid)
        return None if chosen is None else endpoints[chosen]

    def _send(
        self,
        exchange: ForwardedRequest,
        endpoint: UpstreamEndpoint,
        connection: UpstreamConnection,
    ) -> None:
        endpoint.record.busy += 1
        exchange.sent_to = endpoint.record
        exchange.connection = connection
        connection.carry(exchange)

    def _wait(self, exchange: ForwardedRequest) -> bool:
        now = self._deadlines.now()
        exchange.hold_until = exchange.hold_until or now + self._hold_time
        if now >= exchange.hold_until or self._emptied is not None:
            exchange.give_up(503, "held-too-long", "no upstream connection in time")
            return False
        if not self._waiting.admit(exchange):
            exchange.give_up(503, "too-many-held", "too many requests wait already")
            return False
        exchange.deadline = exchange.hold_until
        self._deadlines.watch(exchange)
        return True

    def _offer(
        self, endpoint: UpstreamEndpoint, connection: UpstreamConnection
    ) -> None:
        """Give the connection to the first request that it suits, or keep it."""
        if endpoint.retired:
            connection.close()
            return
        exchange = None
        if self._waiting:
            if self._makes_room(endpoint, connection):
                connection.close()  # its end brings us to dial for who waits
                return
            exchange = self._waiting.first(
                lambda one: (
                    endpoint.record not in one.avoid
                    and not (one.needs_fresh and connection.served)
                )
            )
        if exchange is None:
            endpoint.idle.append(connection)
            return
        self.withdraw(exchange)
        self._send(exchange, endpoint, connection)

    def _makes_room(
        self, endpoint: UpstreamEndpoint, connection: UpstreamConnection
    ) -> bool:
        """Must it go, so that the request that waits longest gets a new connection?

        Where all are busy, requests that can be sent on any of them would otherwise
        pass by one that needs a new one until its time is up.
        """
        oldest = self._waiting.first(lambda one: endpoint.record not in one.avoid)
        if oldest is None or not oldest.needs_fresh or not connection.served:
            return False
        coming = endpoint.record.connecting
        leaving = sum(not one.is_open for one in endpoint.connections)
        return (
            len(endpoint.connections) + coming >= MAX_UPSTREAM_CONNECTIONS
            and coming + leaving < self._waiting.needing_fresh
        )

    def _open_for(self, exchange: ForwardedRequest, endpoint: UpstreamEndpoint) -> None:
        used = len(endpoint.connections) + endpoint.record.connecting
        if used >= MAX_UPSTREAM_CONNECTIONS:
            spare = endpoint.take_idle() if exchange.needs_fresh else None
            if spare is not None:
                spare.close()  # its end brings us back here
        elif endpoint.record.connecting < len(self._waiting):
            self._dial(endpoint)

    def _reconsider(self) -> None:
        """Something changed: does what waits need another connection?"""
        for exchange in self._waiting:
            endpoint = self._choose(exchange)
            if endpoint is None:
                break
            if endpoint.record.connecting >= len(self._waiting):
                break
            self._open_for(exchange, endpoint)
        self._knock()

    def _knock(self) -> None:
        """Try endpoints that are down, as often as who waits for them deserves."""
        now = self._deadlines.now()
        is_wanted = bool(self._waiting) and all(
            record.health is BreakerState.DOWN for record in self._records
        )
        for endpoint in self._endpoints:
            is_down = endpoint.record.health is BreakerState.DOWN
            if is_down and endpoint.record.may_connect(now, wanted=is_wanted):
                self._dial(endpoint)
        if any(record.health is BreakerState.DOWN for record in self._records):
            self.deadline = now + RETRY_SECONDS
            self._deadlines.watch(self)
        else:
            self._deadlines.unwatch(self)

    def _dial(self, endpoint: UpstreamEndpoint, probe: Probe | None = None) -> None:
        endpoint.record.connecting += 1
        attempt = Deferred.fromCoroutine(self._connect(endpoint, probe))
        self._dialling.add(attempt)
        attempt.addErrback(self._dialling_broke, endpoint)
        attempt.addBoth(lambda _: self._dialling.discard(attempt))

    def _dialling_broke(self, reason: Failure, endpoint: UpstreamEndpoint) -> None:
        """An error that nobody foresaw is a failed connect, and logged."""
        self._log.failure("connecting to {endpoint}", reason, endpoint=endpoint)
        if endpoint.probe is not None:
            endpoint.probe.over(str(reason.value))
        self._not_connected(endpoint, str(reason.value))

    async def _connect(self, endpoint: UpstreamEndpoint, probe: Probe | None) -> None:
        try:
            connection = await self._dialler.dial(endpoint)
        except UpstreamError as error:
            if probe is not None:
                probe.over(str(error))
            self._not_connected(endpoint, str(error))
            return
        endpoint.record.connecting -= 1
        if not connection.is_open:
            if probe is not None:
                probe.over("closed at once")
            return
        endpoint.connections.add(connection)
        if endpoint.retired:
            self._retired.add(endpoint)
        self._note(endpoint, Observation.CONNECTED, "connected")
        if probe is None or endpoint.retired:
            self._offer(endpoint, connection)
        else:
            endpoint.record.busy += 1
            connection.carry(probe)

    def _probe_all(self) -> None:
        """On connections of their own; they are pooled afterwards, as any other."""
        now = self._deadlines.now()
        for endpoint in self._endpoints:
            record = endpoint.record
            used = len(endpoint.connections) + record.connecting
            is_due = record.may_connect(now, wanted=False) and endpoint.may_probe
            if is_due and used < MAX_UPSTREAM_CONNECTIONS:
                endpoint.probe = Probe(partial(self._probed, endpoint))
                self._dial(endpoint, endpoint.probe)

    def _probed(self, endpoint: UpstreamEndpoint, problem: str) -> None:
        endpoint.probed = (self._deadlines.now(), problem or "answered")
        self._emit(UpstreamEndpointProbed(str(endpoint.address), problem))
        if problem.startswith("status"):
            self._note(endpoint, Observation.REPLY_FAILED, f"probe: {problem}")

    def _not_connected(self, endpoint: UpstreamEndpoint, why: str) -> None:
        endpoint.record.connecting -= 1
        if self._emptied is None and not endpoint.retired:
            self._note(endpoint, Observation.CONNECT_FAILED, why)
            self._reconsider()

    def _note(
        self, endpoint: UpstreamEndpoint, outcome: Observation, reason: str
    ) -> None:
        record = endpoint.record
        before = record.health
        if not record.note(outcome, self._deadlines.now()):
            return
        address, now = str(endpoint.address), record.health
        if BreakerState.DOWN in (before, now):
            self._emit(UpstreamEndpointChanged(address, now.name, reason))
        elif now is BreakerState.SUSPECT:
            self._emit(UpstreamEndpointFailed(address, reason))
        if record.health is BreakerState.DOWN:
            self._knock()
