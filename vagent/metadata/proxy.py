"""The metadata proxy: who asks, may he, and off it goes.

The shell that joins the guest side to the upstream side. A guest is known by the
address of its connection alone, looked up again for each request because a port may
have changed hands meanwhile; nothing a guest sends has a say in who it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory

from vagent.config.model import MetadataProxyConfig, SessionMode
from vagent.errors import UpstreamError
from vagent.metadata.cache.cache import ResponseCache
from vagent.metadata.cache.serve import CachingForwarder
from vagent.metadata.events import (
    Caller,
    GuestCut,
    GuestUnknown,
    ReplyRelayed,
    RequestForwarded,
    RequestParsed,
    RequestRefused,
    ServiceUnknown,
    SessionReachedUpstream,
)
from vagent.metadata.guest.connection import DownstreamConnection
from vagent.metadata.guest.desk import Admission, Guest
from vagent.metadata.guest.hops import hops_of, opening_packet
from vagent.metadata.guest.identity_headers import (
    IdentityBlocks,
    guest_address,
    variant,
)
from vagent.metadata.guest.quota import GuestQuotas, QuotaLimits
from vagent.metadata.http.parsed_heads import RequestHeadParser
from vagent.metadata.http.request_head import RequestHead, RequestRefusal
from vagent.metadata.imds_v2.events import TokenIssued, TokenMissed, TokenRefused
from vagent.metadata.imds_v2.sessions import Deny, Issue, Let, Sessions
from vagent.metadata.limits import MAX_GUEST_CONNECTIONS_TOTAL, MAX_TURNED_AWAY
from vagent.metadata.request_id import NONE
from vagent.metadata.snapshot import (
    ProxySnapshot,
    conspicuous,
    guest_snapshots,
    limits_of_one,
)
from vagent.metadata.upstream.connect import Dialler
from vagent.metadata.upstream.events import ForwardFailed
from vagent.metadata.upstream.pool import ConnectionPool
from vagent.metadata.upstream.target import Target
from vagent.observe.event import Emit
from vagent.ports.port import Registration
from vagent.transport.deadlines import Deadlines

Identify = Callable[[str], Registration | None]
"""Who has this identity address? A dictionary look-up, called for each request."""


class MetadataProxy:
    """Serves guests on the listeners that use `factory`; forwards to the target.

    The constructor opens nothing. Without a target (`set_target` was not called, or
    called with None or no endpoints) every known guest gets 503. Without
    `sessions`, or for a guest whose session tokens are off, a request for one goes
    upstream like any other. `request_ids` gives each request its number
    (`request_id.request_ids`).
    """

    def __init__(
        self,
        config: MetadataProxyConfig,
        *,
        identify: Identify,
        emit: Emit,
        reactor: Any,
        request_ids: Iterator[int],
        sessions: Sessions | None = None,
    ) -> None:
        self._config = config
        self._sessions = sessions
        self._request_ids = request_ids
        self._identify = identify
        self._emit = emit
        self._deadlines = Deadlines(reactor)
        dialler = Dialler(config, emit=emit, deadlines=self._deadlines, reactor=reactor)
        self._pool = ConnectionPool(
            config, emit=emit, deadlines=self._deadlines, dialler=dialler
        )
        self._cache = ResponseCache(config.cache_ttl)
        self._quota_limits = QuotaLimits(
            rate=config.guest_request_rate,
            burst=config.guest_request_burst,
            in_flight=config.max_guest_requests,
        )
        self._answering = CachingForwarder(
            self._pool,
            quota_limits=self._quota_limits,
            cache=self._cache,
            emit=emit,
            deadlines=self._deadlines,
        )
        self._blocks = IdentityBlocks(config.shared_secret)
        self._accounts = GuestQuotas()
        self._connections = 0
        self._target: Target | None = None
        self._has_target = False
        self._emptied: Deferred[None] | None = None
        self.factory: IProtocolFactory = _GuestFactory(self, self._deadlines)
        self.parse = RequestHeadParser().parse

    def set_target(self, target: Target | None) -> None:
        """Forward to these endpoints from now on; what is in flight goes on."""
        if target != self._target:
            self._cache.clear()
        self._target = target
        self._has_target = target is not None and bool(target.endpoints)
        self._pool.set_target(target)

    def forget(self, identity: str) -> None:
        """The port behind this identity went or was replaced: drop all of it."""
        account = self._accounts.find(identity)
        if account is not None:
            for guest in list(account.connections):
                guest.cut()
        self._accounts.forget(identity)
        self._blocks.forget(identity)
        self._cache.drop(identity)

    async def stop(self) -> None:
        """Reset every connection, both sides; returns when all are closed."""
        self._emptied = Deferred()
        for _, account in self._accounts.all():
            for guest in list(account.connections):
                guest.cut()
        emptied = self._emptied
        self._check_emptied()
        await emptied
        await self._pool.stop()
        self._deadlines.stop()

    def endpoints_up(self) -> int:
        """Endpoints that are neither down nor suspect."""
        return sum(one.state == "UP" for one in self._pool.snapshot())

    def snapshot(self) -> ProxySnapshot:
        """A picture of this moment."""
        endpoints = self._pool.snapshot()
        guests = guest_snapshots(self._accounts)
        return ProxySnapshot(
            port=self._config.port,
            guests=sum(1 for guest in guests if guest.connections),
            connections=self._connections,
            in_flight=sum(one.busy for one in endpoints),
            waiting=self._pool.waiting,
            kept=len(self._cache),
            kept_bytes=self._cache.bytes,
            hits=self._cache.hits,
            joined=self._cache.joined,
            limits=limits_of_one(self._config),
            session_tokens=self._config.session_tokens.value,
            endpoints=endpoints,
            conspicuous=conspicuous(guests),
        )

    # What a guest's connection asks of us: see `Desk`.

    def arrived(self, guest: Guest) -> Admission:
        """See `Desk`."""
        guest.peer = self._owner(guest.source)
        guest.caller = Caller("", "", guest.peer)
        account = guest.account = self._accounts.of(guest.peer)
        account.connections.add(guest)
        self._connections += 1
        surplus = len(account.connections) - self._config.max_guest_connections
        if surplus <= 0 and self._connections <= MAX_GUEST_CONNECTIONS_TOTAL:
            return Admission.WELCOME
        account.limited += 1
        self._emit(GuestCut(NONE, guest.caller, "too-many-connections"))
        if surplus <= MAX_TURNED_AWAY and self._emptied is None:
            return Admission.BUSY
        return Admission.RESET

    def departed(self, guest: Guest) -> None:
        """See `Desk`."""
        self._connections -= 1
        guest.account.connections.discard(guest)
        self._check_emptied()

    def requested(self, guest: Guest, request: RequestHead, body: bytes) -> None:
        """See `Desk`."""
        guest.request_id = number = next(self._request_ids)
        registration = self._identify(guest.peer)
        if registration is None:
            self._emit(RequestParsed())
            self._emit(GuestUnknown(number, Caller("", "", guest.peer)))
            guest.answer(404, close=True)
        elif registration is not guest.registration and not self._meet(
            guest, registration
        ):
            return
        elif not self._has_target:
            self._emit(RequestParsed())
            self._emit(ServiceUnknown(number, guest.caller, request.method))
            guest.answer(503, close=not request.keep_alive)
        elif not guest.account.takes(self._quota_limits, guest.started):
            self._emit(RequestParsed())
            self._answering.turn_away(guest, "too-fast")
        elif not (guest.has_sessions and self._is_stopped(guest, registration)):
            self._emit(
                RequestForwarded(number, guest.caller, request.method, request.path)
            )
            self._answering.answer(guest, body)

    def _is_stopped(self, guest: Guest, registration: Registration) -> bool:
        """Does the matter of session tokens end here?"""
        assert self._sessions is not None  # noqa: S101  for the type checker
        request = guest.request
        match self._sessions.decide(request, registration, is_far=guest.is_far):
            case Issue(data, size, missed):
                self._emit(RequestParsed())
                if missed:
                    self._miss(guest, missed)
                self._emit(TokenIssued(guest.request_id, guest.caller))
                guest.issue(data, size, hops=self._config.hop_limit)
                return True
            case Deny(status, reason, text):
                self._emit(RequestParsed())
                self._emit(TokenRefused(guest.request_id, guest.caller, status, reason))
                guest.answer(status, close=not request.keep_alive, text=text)
                return True
            case Let(missed) if missed:
                self._miss(guest, missed)
        return False

    def _miss(self, guest: Guest, reason: str) -> None:
        """Audit: required tokens would have refused the request."""
        guest.account.missed += 1
        self._emit(
            TokenMissed(guest.request_id, guest.caller, reason, guest.request.path)
        )

    def settled(self, guest: Guest) -> None:
        """See `Desk`."""
        self._answering.settled(guest)

    def refused(self, guest: Guest, refusal: RequestRefusal) -> None:
        """See `Desk`."""
        guest.request_id = next(self._request_ids)
        self._emit(
            RequestRefused(
                guest.request_id,
                guest.caller,
                refusal.status,
                refusal.reason,
                refusal.method,
            )
        )

    def replied(self, guest: Guest, status: int, size: int) -> None:
        """See `Desk`."""
        seconds = self._deadlines.now() - guest.started
        self._emit(ReplyRelayed(guest.request_id, guest.caller, status, size, seconds))

    def cut_short(self, guest: Guest, reason: str) -> None:
        """See `Desk`."""
        self._emit(GuestCut(guest.request_id, guest.caller, reason))

    def _owner(self, source: str) -> str:
        """What a guest's connections are counted and kept by: its port's main identity,
        whichever address it asks from, or its share would grow with them.
        """
        registration = self._identify(source)
        if registration is None or (":" not in source and not registration.further):
            return source
        return str(registration.identity)

    def _meet(self, guest: Guest, registration: Registration) -> bool:
        """The connection's port is new to it, or changed. False: it was cut."""
        before = guest.registration
        if before is not None and not _is_same_guest(before, registration):
            self._emit(GuestCut(guest.request_id, guest.caller, "port-changed"))
            guest.cut()
            return False
        port = registration.port
        address = guest_address(registration, guest.source)
        guest.caller = Caller(port.id, port.tap, address)
        try:
            guest.block = self._blocks.of(registration, guest.source)
        except UpstreamError as error:
            self._emit(
                ForwardFailed(
                    guest.request_id, guest.caller, "unusable-identity", str(error)
                )
            )
            guest.answer(error.status, close=True)
            return False
        guest.registration = registration
        guest.has_sessions = (
            self._sessions is not None
            and self._sessions.mode_of(registration) is not SessionMode.OFF
        )
        guest.variant = variant(registration, guest.source)
        if before is None:
            if self._config.refuse_beyond_hop_limit:
                hops = hops_of(opening_packet(guest.transport))
                guest.is_far = hops >= self._config.hop_limit
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


class _GuestFactory(Factory):
    """Builds the guest-facing protocol; no log line for each listener."""

    noisy = False

    def __init__(self, proxy: MetadataProxy, deadlines: Deadlines) -> None:
        self._proxy = proxy
        self._deadlines = deadlines

    def buildProtocol(self, addr: IAddress | None) -> DownstreamConnection:
        """One for each connection."""
        del addr  # the transport tells it again
        return DownstreamConnection(self._proxy, self._deadlines)
