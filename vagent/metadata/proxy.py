"""The metadata proxy: who asks, whether they may, and where the response comes from.

It joins the guests' side to the upstream's. A guest is known by the source address of
its connection alone, looked up again for each request because the port may have changed
hands meanwhile. Nothing that a guest sends has a say in who it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory

from vagent.config.model import MetadataProxyConfig, SessionMode
from vagent.errors import UpstreamError
from vagent.linklocal.own_servers import OwnServers
from vagent.metadata.cache.cache import ResponseCache
from vagent.metadata.cache.caching_forwarder import CachingForwarder
from vagent.metadata.events import (
    Caller,
    ErrorSent,
    GuestCut,
    GuestUnknown,
    ReplyRelayed,
    RequestFailed,
    RequestForwarded,
    RequestParsed,
    RequestRefused,
    ServiceUnknown,
    SessionReachedUpstream,
)
from vagent.metadata.guest.callbacks import Admission
from vagent.metadata.guest.connection import DownstreamConnection
from vagent.metadata.guest.events import AnswerWithheld
from vagent.metadata.guest.factory import DownstreamFactory
from vagent.metadata.guest.hops import hops_of, opening_packet
from vagent.metadata.guest.identity_headers import GuestIdentities, caller_of
from vagent.metadata.guest.quota import GuestQuotas, QuotaLimits
from vagent.metadata.http.date import DateLine
from vagent.metadata.http.request_head import RequestHead, RequestRefusal
from vagent.metadata.imds_v2.events import TokenIssued, TokenMissed, TokenRefused
from vagent.metadata.imds_v2.sessions import Allow, Deny, IssueToken, Sessions
from vagent.metadata.limits import (
    FEW_CONNECTIONS,
    MAX_GUEST_CONNECTIONS_TOTAL,
    MAX_TURNED_AWAY,
    RESERVED,
)
from vagent.metadata.long_polls import LongPolls
from vagent.metadata.request_id import NONE
from vagent.metadata.snapshot import (
    ProxySnapshot,
    conspicuous,
    guest_snapshots,
    limits_of_one,
)
from vagent.metadata.upstream.circuit_breaker import BreakerState
from vagent.metadata.upstream.connector import UpstreamConnector
from vagent.metadata.upstream.events import ForwardFailed
from vagent.metadata.upstream.pool import ConnectionPool
from vagent.metadata.upstream.target import Target
from vagent.observe.event import Emit
from vagent.ports.port import Registration
from vagent.transport.deadlines import Deadlines
from vagent.transport.turns import Turns

Identify = Callable[[str], Registration | None]
"""Who has this identity address? A dictionary look-up, called for each request."""


class MetadataProxy:
    """Serves guests on the listeners that use `factory`; forwards to the target.

    The constructor opens nothing. Without a target (`set_target` was not called, or
    called with None or no endpoints) every known guest gets 503. Without `sessions`, or
    for a guest whose session tokens are off, a request for a token goes upstream like
    any other. `request_ids` gives each request its number, `date` the line with
    the date of responses that have none. `endpoints` are the
    upstream's now, `refusals` what nova-api has refused and not granted since,
    `upstream_times` how long requests took there.
    `end_long_polls` is to be called once before a stop.
    """

    def __init__(
        self,
        config: MetadataProxyConfig,
        *,
        identify: Identify,
        emit: Emit,
        reactor: Any,
        request_ids: Iterator[int],
        date: DateLine,
        sessions: Sessions | None = None,
        own: OwnServers | None = None,
    ) -> None:
        self._config = config
        self._sessions = sessions
        self._request_ids = request_ids
        self._identify = identify
        self._emit = emit
        self._deadlines = Deadlines(reactor)
        self._pool = ConnectionPool(
            config,
            emit=emit,
            deadlines=self._deadlines,
            connector=UpstreamConnector(
                config,
                emit=emit,
                deadlines=self._deadlines,
                reactor=reactor,
                date=date,
                own=own,
            ),
            clock=reactor,
        )
        self._cache = ResponseCache(config.cache_ttl)
        self._limits = QuotaLimits(
            rate=config.guest_request_rate,
            burst=config.guest_request_burst,
            in_flight=config.max_guest_requests,
        )
        self._forwarder = CachingForwarder(
            self._pool,
            limits=self._limits,
            cache=self._cache,
            emit=emit,
            deadlines=self._deadlines,
        )
        self._long_polls = LongPolls(
            self._forwarder, emit=emit, deadlines=self._deadlines
        )
        self._identities = GuestIdentities(config.shared_secret)
        self._quotas = GuestQuotas()
        self._connections = 0
        self._target: Target | None = None
        self._has_target = False
        self._emptied: Deferred[None] | None = None
        self.factory: IProtocolFactory = DownstreamFactory(
            self, self._deadlines, Turns(reactor), date
        )
        self.request_done = self._forwarder.request_done
        self.endpoints = self._pool.snapshot
        self.refusals = self._pool.refusals
        self.upstream_times = self._pool.times
        self.end_long_polls = self._long_polls.end
        self.connections = self._quotas.connections

    def set_target(self, target: Target | None) -> None:
        """Forward to these endpoints from now on; what is in flight goes on."""
        is_new = target != self._target
        if is_new:
            self._cache.clear()
        self._target = target
        self._has_target = target is not None and bool(target.endpoints)
        self._pool.set_target(target)
        if is_new:
            self._long_polls.all_changed()

    def instance_changed(self, instance_id: str) -> None:
        """The documents of this instance may have changed, or are there now."""
        self._long_polls.changed(instance_id)
        self._pool.instance_changed(instance_id)

    def forget(self, identity: str) -> None:
        """The port with this main identity was removed or replaced: drop all that is
        kept of it.
        """
        quota = self._quotas.find(identity)
        if quota is not None:
            for connection in list(quota.connections):
                connection.reset()
        self._quotas.forget(identity)
        self._identities.forget(identity)
        self._cache.drop(identity)

    async def stop(self) -> None:
        """Reset every connection, both sides; returns when all are closed."""
        self._emptied = Deferred()
        for connection in list(self.connections()):
            connection.reset()
        emptied = self._emptied
        self._check_emptied()
        await emptied
        await self._pool.stop()
        self._deadlines.stop()

    def endpoints_up(self) -> int:
        """Endpoints that are neither down nor suspect."""
        return sum(one.state is BreakerState.UP for one in self.endpoints())

    def snapshot(self) -> ProxySnapshot:
        """The proxy as it is now."""
        endpoints = self.endpoints()
        guests = guest_snapshots(self._quotas, self._port_id)
        return ProxySnapshot(
            port=self._config.port,
            guests=sum(1 for guest in guests if guest.connections),
            connections=self._connections,
            requests_in_flight=sum(one.busy for one in endpoints),
            requests_waiting=self._pool.waiting,
            cached_replies=len(self._cache),
            cached_bytes=self._cache.bytes,
            cache_hits=self._cache.hits,
            coalesced=self._cache.joined,
            limits=limits_of_one(self._config),
            session_tokens=self._config.session_tokens,
            endpoints=endpoints,
            conspicuous=conspicuous(guests),
        )

    def _port_id(self, identity: str) -> str:
        registration = self._identify(identity)
        return "" if registration is None else registration.port.id

    # The methods of `DownstreamCallbacks`: a guest's connection calls them.

    def connection_made(self, connection: DownstreamConnection) -> Admission:
        """Count a new connection, and decide whether it is accepted."""
        identity = self._main_identity(connection.source)
        connection.main_identity = identity
        connection.caller = Caller("", "", identity)
        quota = connection.quota = self._quotas.of(identity)
        quota.connections.add(connection)
        self._connections += 1
        own = len(quota.connections)
        surplus = own - self._config.max_guest_connections
        most = MAX_GUEST_CONNECTIONS_TOTAL
        if own > FEW_CONNECTIONS:
            most -= most // RESERVED
        if surplus <= 0 and self._connections <= most:
            return Admission.ACCEPTED
        quota.limited += 1
        self._emit(GuestCut(NONE, self._caller(connection), "too-many-connections"))
        if surplus <= MAX_TURNED_AWAY and self._emptied is None:
            return Admission.BUSY
        return Admission.RESET

    def connection_lost(self, connection: DownstreamConnection) -> None:
        """The connection is closed."""
        self._connections -= 1
        connection.quota.connections.discard(connection)
        self._check_emptied()

    def request_received(
        self, connection: DownstreamConnection, request: RequestHead, body: bytes
    ) -> None:
        """Answer a whole request: the first rule that applies decides how."""
        connection.request_id = number = next(self._request_ids)
        registration = self._identify(connection.main_identity)
        if registration is None:
            self._emit(RequestParsed())
            self._emit(GuestUnknown(number, Caller("", "", connection.main_identity)))
            connection.send_local_response(404, close=True)
        elif registration is not connection.registration and not self._recognise(
            connection, registration
        ):
            return
        elif not connection.quota.take_token(self._limits, connection.started):
            self._emit(RequestParsed())
            connection.is_over_rate = True
            self._forwarder.refuse(connection, "too-fast")
        elif not self._has_target:
            self._emit(RequestParsed())
            self._emit(ServiceUnknown(number, connection.caller, request.method))
            connection.send_local_response(503, close=not request.keep_alive)
        elif not (
            connection.has_sessions and self._is_stopped(connection, registration)
        ):
            self._emit(
                RequestForwarded(
                    number, connection.caller, request.method, request.path
                )
            )
            if request.awaits is None:
                self._forwarder.respond(connection, body)
            else:
                instance_id = registration.port.instance_id
                self._long_polls.begin(connection, request.awaits, instance_id)

    def request_refused(
        self, connection: DownstreamConnection, refusal: RequestRefusal
    ) -> None:
        """A request broke a rule of HTTP or of ours; the connection answers it."""
        connection.request_id = next(self._request_ids)
        self._emit(
            RequestRefused(
                connection.request_id,
                self._caller(connection),
                refusal.status,
                refusal.reason,
                refusal.method,
            )
        )

    def response_sent(
        self, connection: DownstreamConnection, status: int, size: int
    ) -> None:
        """A response of the upstream was written; `size` counts its body."""
        seconds = self._deadlines.now() - connection.started
        self._emit(
            ReplyRelayed(
                connection.request_id, connection.caller, status, size, seconds
            )
        )

    def error_sent(self, status: int) -> None:
        """An error was written in answer to what is no whole request."""
        self._emit(ErrorSent(status))

    def request_failed(self, connection: DownstreamConnection, status: int) -> None:
        """The request was answered with an error of the agent's own."""
        seconds = self._deadlines.now() - connection.started
        self._emit(RequestFailed(connection.request_id, status, seconds))

    def answer_withheld(self, connection: DownstreamConnection) -> None:
        """The connection closes without the 503 that its guest would take for final."""
        seconds = self._deadlines.now() - connection.started
        self._emit(AnswerWithheld(connection.request_id, connection.caller, seconds))

    def connection_reset(self, connection: DownstreamConnection, reason: str) -> None:
        """The connection resets itself because the guest broke a limit."""
        self._emit(GuestCut(connection.request_id, self._caller(connection), reason))

    def _caller(self, connection: DownstreamConnection) -> Caller:
        """Who the guest is, also where its first request has not been accepted yet."""
        if connection.registration is None:
            registration = self._identify(connection.main_identity)
            if registration is not None:
                return caller_of(registration, connection.source)
        return connection.caller

    def _is_stopped(
        self, connection: DownstreamConnection, registration: Registration
    ) -> bool:
        """Do the rules of session tokens answer the request? Then that is done."""
        assert self._sessions is not None  # noqa: S101  for the type checker
        request = connection.request
        number, caller = connection.request_id, connection.caller
        match self._sessions.decide(request, registration, is_far=connection.is_far):
            case IssueToken(token, ttl, missed):
                self._emit(RequestParsed())
                if missed:
                    self._miss(connection, missed)
                self._emit(TokenIssued(number, caller))
                connection.send_token(token, ttl, hops=self._config.hop_limit)
                return True
            case Deny(status, reason, text):
                self._emit(RequestParsed())
                self._emit(TokenRefused(number, caller, status, reason))
                close = not request.keep_alive
                connection.send_local_response(status, close=close, text=text)
                return True
            case Allow(missed) if missed:
                self._miss(connection, missed)
        return False

    def _miss(self, connection: DownstreamConnection, reason: str) -> None:
        """Mode `audit`: the request would be refused if tokens were required."""
        connection.quota.missed += 1
        path = connection.request.path
        self._emit(TokenMissed(connection.request_id, connection.caller, reason, path))

    def _main_identity(self, source: str) -> str:
        """The main identity of the port that this identity belongs to.

        A guest's quota and cache are found by it, whichever of its addresses the guest
        uses; otherwise each address would give it another share.
        """
        registration = self._identify(source)
        if registration is None or (":" not in source and not registration.further):
            return source
        return str(registration.identity)

    def _recognise(
        self, connection: DownstreamConnection, registration: Registration
    ) -> bool:
        """Take over who the guest is: at a connection's first request, and when its
        port has changed. False: the request is answered, or the connection reset.
        """
        before = connection.registration
        if before is not None and not _is_same_guest(before, registration):
            self._emit(
                GuestCut(connection.request_id, connection.caller, "port-changed")
            )
            connection.reset()
            return False
        try:
            identity = self._identities.of(registration, connection.source)
        except UpstreamError as error:
            connection.caller = caller_of(registration, connection.source)
            self._emit(
                ForwardFailed(
                    connection.request_id,
                    connection.caller,
                    "unusable-identity",
                    str(error),
                )
            )
            connection.send_local_response(error.status, close=True)
            return False
        connection.registration = registration
        connection.identity, connection.caller = identity, identity.caller
        connection.has_sessions = (
            self._sessions is not None
            and self._sessions.mode_of(registration) is not SessionMode.OFF
        )
        if before is None:
            if self._config.refuse_beyond_hop_limit:
                hops = hops_of(opening_packet(connection.transport))
                connection.is_far = hops >= self._config.hop_limit
            self._emit(SessionReachedUpstream())
        return True

    def _check_emptied(self) -> None:
        emptied = self._emptied
        if emptied is not None and not self._connections and not emptied.called:
            emptied.callback(None)


def _is_same_guest(before: Registration, after: Registration) -> bool:
    return (
        before.port.id == after.port.id
        and before.port.instance_id == after.port.instance_id
        and before.port.tenant_id == after.port.tenant_id
    )
