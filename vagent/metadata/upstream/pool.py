"""The pool of upstream connections: which endpoint and connection carry a request.

The circuit breakers choose the endpoint, the retry policy decides after a failure; the
pool carries that out. A request that finds no idle connection waits in one queue,
whether a connection is being opened, all are busy, or every endpoint is down. So a
failed connect never fails a request: it goes on waiting, and is answered 503 when its
time is up.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vagent.config.model import MetadataProxyConfig
from vagent.metadata.limits import RETRY_SECONDS
from vagent.metadata.upstream.circuit_breaker import (
    BreakerState,
    EndpointOutcome,
    choose,
)
from vagent.metadata.upstream.connect_attempts import ConnectAttempts
from vagent.metadata.upstream.connection import UpstreamConnection
from vagent.metadata.upstream.connector import UpstreamConnector
from vagent.metadata.upstream.endpoint import EndpointSnapshot, UpstreamEndpoint
from vagent.metadata.upstream.events import (
    ForwardFailed,
    UpstreamEndpointChanged,
    UpstreamEndpointFailed,
    UpstreamEndpointProbed,
)
from vagent.metadata.upstream.forwarded_request import ForwardedRequest
from vagent.metadata.upstream.health_check import HealthChecks, Probe
from vagent.metadata.upstream.instance_wait import InstanceWait
from vagent.metadata.upstream.refusal_record import RefusalRecord
from vagent.metadata.upstream.retry_policy import UpstreamFailure
from vagent.metadata.upstream.sharing import (
    QuietHandOver,
    lacks_any,
    lacks_new,
    may_overtake,
)
from vagent.metadata.upstream.target import Target
from vagent.metadata.upstream.times import UpstreamTimes
from vagent.metadata.upstream.tls_alert import in_words, refusal_in
from vagent.metadata.upstream.wait_queue import WaitQueue
from vagent.observe.event import Emit
from vagent.transport.deadlines import NEVER, Deadlines

_UP, _DOWN = BreakerState.UP, BreakerState.DOWN
"""Members as plain names, because each request needs them: in Python 3.11
`BreakerState.UP` costs 70 ns."""


class ConnectionPool:
    """Carries requests to the endpoints of the current target.

    `is_down`: no endpoint is worth a try now. `times` is how long requests took there,
    `refusals` what nova-api refused and has not granted since.
    """

    def __init__(
        self,
        config: MetadataProxyConfig,
        *,
        emit: Emit,
        deadlines: Deadlines,
        connector: UpstreamConnector,
        clock: IReactorTime,
    ) -> None:
        self._hold_time = config.hold_time
        self._emit = emit
        self._deadlines = deadlines
        self._connector = connector
        self._endpoints: list[UpstreamEndpoint] = []
        self._retired: set[UpstreamEndpoint] = set()
        self.times = UpstreamTimes()
        self._queue = WaitQueue(deadlines, emit)
        self._instances = InstanceWait(
            config.hold_time,
            submit=self.submit,
            emit=emit,
            deadlines=deadlines,
        )
        self.await_instance = self._instances.add
        self.instance_changed = self._instances.instance_changed
        self._attempts = ConnectAttempts(
            connector,
            connected=self._connected,
            failed=self._not_connected,
            times=self.times,
            now=deadlines.now,
        )
        self._checks = HealthChecks(
            config.probe_interval,
            deadlines=deadlines,
            connect=self._attempts.begin,
            probed=self._probed,
        )
        self._emptied: Deferred[None] | None = None
        self._hand_over = QuietHandOver(self._queue, self._send, clock)
        self._turn = 0
        self.refusals = RefusalRecord(emit)
        self.is_down = True
        self.deadline = NEVER

    def set_target(self, target: Target | None) -> None:
        """Use these endpoints; those that stay keep their connections and state."""
        known = {(one.address, one.name): one for one in self._endpoints}
        kept = []
        for address in target.endpoints if target else ():
            name = target.name_of(address) if target else ""
            same = known.pop((address, name), None)
            port = self._connector.default_port
            kept.append(
                same or UpstreamEndpoint(self, address, name, default_port=port)
            )
        for endpoint in known.values():
            endpoint.retire()
            if endpoint.connections:
                self._retired.add(endpoint)
        self._endpoints = kept
        if not self.refusals.is_empty:
            self.refusals.keep({str(one.address) for one in kept})
        self.is_down = _all_down(kept)
        self._checks.check(kept if self._emptied is None else ())
        if self._instances.size:
            self._instances.ask_again()
        if not kept:
            for request in self._queue:
                self.withdraw(request)
                request.give_up(503, "no-service", "the service was removed")
        self._open_for_waiting()

    # The methods of `RequestPool`: a request calls them.

    def submit(self, request: ForwardedRequest) -> None:
        """Send it as soon as a connection can carry it, or have it give up."""
        endpoint = self._choose(request)
        if (
            endpoint is not None
            and not request.needs_fresh
            and (not self._queue.size or may_overtake(self._queue, endpoint))
        ):
            connection = endpoint.idle.take(request.guest)
            if connection is not None:
                self._send(request, connection)
                return
        if self._wait(request):
            if endpoint is None:
                self._reconnect()
            else:
                self._open_for(endpoint)
                self._hand_over.watch(self._endpoints)

    def withdraw(self, request: ForwardedRequest) -> None:
        """Take back a request that waits for a connection, or for its instance."""
        self._queue.remove(request)
        self._instances.remove(request)

    def has_other(self, request: ForwardedRequest) -> bool:
        """Is an endpoint up that has not failed this request?"""
        tried = (*request.avoid, request.sent_to)
        return any(
            one.breaker.state is not _DOWN and one.breaker not in tried
            for one in self._endpoints
        )

    def report(self, request: ForwardedRequest, reason: str, detail: str) -> None:
        """Report that the request ends without a response, and why."""
        self._emit(ForwardFailed(request.request_id, request.caller, reason, detail))

    # A connection calls these methods.

    def freed(self, connection: UpstreamConnection, *, reusable: bool) -> None:
        """A response is complete. If not reusable, the connection closes itself."""
        endpoint = connection.endpoint
        breaker = endpoint.breaker
        breaker.busy -= 1
        if breaker.state is not _UP or breaker.failures:
            self._note(endpoint, EndpointOutcome.REPLIED, "replied")
        if connection.served == 1:
            self._connector.keep_session(connection)
        if reusable:
            self._offer(connection)

    def failed(
        self, connection: UpstreamConnection, failure: UpstreamFailure, detail: str
    ) -> None:
        """The request that it carried failed; the connection is closed or closing."""
        endpoint = connection.endpoint
        endpoint.breaker.busy -= 1
        if failure is UpstreamFailure.REFUSED:
            self._refused(endpoint, detail)
        elif failure is not UpstreamFailure.STALE:
            reason = f"{failure.value}: {detail}"
            self._note(endpoint, EndpointOutcome.REPLY_FAILED, reason)

    def abandoned(self, connection: UpstreamConnection) -> None:
        """Nobody waits for the response any more; the connection is closing."""
        connection.endpoint.breaker.busy -= 1

    def closed(self, connection: UpstreamConnection, refusal: str) -> None:
        """It is closed. `refusal`: the TLS alert that ended it before it was used."""
        endpoint = connection.endpoint
        endpoint.connections.discard(connection)
        endpoint.idle.discard(connection)
        if not endpoint.connections:
            self._retired.discard(endpoint)
        if refusal:
            self._refused(endpoint, refusal)
        if self._emptied is not None:
            self._check_emptied()
        elif self._queue.size:
            self._open_for_waiting()

    def expired(self) -> None:
        """It is time to try endpoints that are down."""
        self._reconnect()

    def snapshot(self) -> tuple[EndpointSnapshot, ...]:
        """The endpoints as they are now."""
        now, shown = self._deadlines.now(), self._connector.certificate_for
        return tuple(one.snapshot(now, shown(one)) for one in self._endpoints)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection, or for their instance."""
        return self._queue.size + self._instances.size

    async def stop(self) -> None:
        """Close every connection and end every attempt; returns when all are closed."""
        self._emptied = Deferred()
        self._checks.check(())
        for request in self._queue:
            self.withdraw(request)
        self._attempts.cancel()
        self._hand_over.stop()
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

    def _choose(self, request: ForwardedRequest) -> UpstreamEndpoint | None:
        """The endpoint for this request; None when all are down."""
        endpoints = self._endpoints
        if len(endpoints) == 1:
            only = endpoints[0]
            return None if only.breaker.state is _DOWN else only
        self._turn += 1
        now = self._deadlines.now()
        breakers = [one.breaker for one in endpoints]
        chosen = choose(breakers, now, turn=self._turn, avoid=request.avoid)
        return None if chosen is None else endpoints[chosen]

    def _send(self, request: ForwardedRequest, connection: UpstreamConnection) -> None:
        breaker = connection.endpoint.breaker
        breaker.busy += 1
        request.sent_to = breaker
        request.connection = connection
        connection.carry(request)

    def _wait(self, request: ForwardedRequest) -> bool:
        """Let it wait for a connection; False if it had to give up."""
        now = self._deadlines.now()
        request.hold_until = request.hold_until or now + self._hold_time
        if now >= request.hold_until or self._emptied is not None:
            request.give_up(503, "held-too-long", "no upstream connection in time")
            return False
        if not self._queue.add(request):
            request.give_up(503, "too-many-held", "too many requests wait already")
            return False
        return True

    def _offer(self, connection: UpstreamConnection) -> None:
        """Give the connection to a request that waits and that it suits, else keep it
        idle, or close it to make room for a new one.
        """
        endpoint = connection.endpoint
        if endpoint.retired:
            connection.close()
            return
        queue = self._queue
        request = queue.first(endpoint.breaker) if queue.size else None
        if request is None:
            endpoint.idle.add(connection)
        elif connection.guest is None or (
            request.guest == connection.guest and not request.needs_fresh
        ):
            self._send_waiting(request, connection)
        else:
            self._offer_beside(connection)

    def _offer_beside(self, connection: UpstreamConnection) -> None:
        """Offer a connection that the request that waits longest cannot have."""
        endpoint = connection.endpoint
        queue = self._queue
        lacks = endpoint.is_full and lacks_any(queue, endpoint)
        if lacks and (connection.is_bound or lacks_new(queue, endpoint)):
            connection.close()  # its `closed` opens another connection
            return
        request = None
        if not lacks:
            request = queue.first(
                endpoint.breaker, is_new=False, guest=connection.guest
            )
        if request is not None:
            self._send_waiting(request, connection)
            return
        endpoint.idle.add(connection)
        self._open_for_waiting()
        self._hand_over.watch(self._endpoints)

    def _send_waiting(
        self, request: ForwardedRequest, connection: UpstreamConnection
    ) -> None:
        self._queue.remove(request, is_sent=True)
        self._send(request, connection)

    def _open_for(self, endpoint: UpstreamEndpoint) -> bool:
        """Open a connection for requests that wait, unless enough are coming. False if
        there can be no more.
        """
        if not endpoint.is_full:
            if endpoint.breaker.connecting < self._queue.size:
                self._attempts.begin(endpoint)
            return True
        spare = None
        if lacks_any(self._queue, endpoint):
            bound = not lacks_new(self._queue, endpoint)
            spare = endpoint.idle.take_spare(bound=bound)
        if spare is not None:
            spare.close()  # its `closed` opens another connection
        return spare is not None

    def _open_for_waiting(self) -> None:
        """Something has changed: open the connections that waiting requests need."""
        for request in self._queue:
            endpoint = self._choose(request)
            if endpoint is None or endpoint.breaker.connecting >= self._queue.size:
                break
            if not self._open_for(endpoint):
                break
        self._reconnect()

    def _reconnect(self) -> None:
        """Try endpoints that are down: often while requests wait, else with growing
        pauses.
        """
        now = self._deadlines.now()
        is_wanted = self.is_down and self._queue.size > 0
        for endpoint in self._endpoints:
            breaker = endpoint.breaker
            if breaker.state is _DOWN and breaker.may_connect(now, wanted=is_wanted):
                self._attempts.begin(endpoint, self._checks.trial(endpoint))
        if any(one.breaker.state is _DOWN for one in self._endpoints):
            self.deadline = now + RETRY_SECONDS
            self._deadlines.watch(self)
        else:
            self._deadlines.unwatch(self)

    def _connected(
        self,
        endpoint: UpstreamEndpoint,
        connection: UpstreamConnection,
        probe: Probe | None,
    ) -> None:
        endpoint.connections.add(connection)
        if endpoint.retired:
            self._retired.add(endpoint)
        self._note(endpoint, EndpointOutcome.CONNECTED, "connected")
        if probe is None or endpoint.retired:
            self._offer(connection)
        else:
            endpoint.breaker.busy += 1
            connection.carry(probe)

    def _not_connected(self, endpoint: UpstreamEndpoint, why: str) -> None:
        if self._emptied is None and not endpoint.retired:
            if refusal_in(why):
                self._refused(endpoint, why)
            else:
                self._note(endpoint, EndpointOutcome.CONNECT_FAILED, why)
            self._open_for_waiting()

    def _refused(self, endpoint: UpstreamEndpoint, said: str) -> None:
        """The server ended TLS with an alert."""
        words = in_words(said, self._connector.certificate_for(endpoint))
        self._note(endpoint, EndpointOutcome.REFUSED, words)

    def _probed(self, endpoint: UpstreamEndpoint, problem: str) -> None:
        self._emit(UpstreamEndpointProbed(str(endpoint.address), problem))
        if problem.startswith("status"):
            self._note(endpoint, EndpointOutcome.REPLY_FAILED, f"probe: {problem}")

    def _note(
        self, endpoint: UpstreamEndpoint, outcome: EndpointOutcome, reason: str
    ) -> None:
        """Pass what was seen to the circuit breaker; report a change of state."""
        breaker = endpoint.breaker
        before = breaker.state
        if outcome is EndpointOutcome.REPLIED:
            endpoint.problem = ""
        elif outcome is not EndpointOutcome.CONNECTED:
            endpoint.problem = reason
        if not breaker.note(outcome, self._deadlines.now()):
            return
        self.is_down = _all_down(self._endpoints)
        if _DOWN in (before, breaker.state):
            self._emit(
                UpstreamEndpointChanged(str(endpoint.address), breaker.state, reason)
            )
        elif breaker.state is BreakerState.SUSPECT:
            self._emit(UpstreamEndpointFailed(str(endpoint.address), reason))
        if breaker.state is _DOWN:
            self._reconnect()


def _all_down(endpoints: Iterable[UpstreamEndpoint]) -> bool:
    return all(one.breaker.state is _DOWN for one in endpoints)
