"""The metadata proxy: who asks, may he, and off it goes.

The shell that joins the guest side to the upstream side. A guest is known by the
address of its connection alone, looked up again for each request because a port may
have changed hands meanwhile; nothing a guest sends has a say in who it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory

from vagent.config.model import MetadataProxyConfig
from vagent.errors import UpstreamError
from vagent.metadata.deadlines import Deadlines
from vagent.metadata.desk import Admission
from vagent.metadata.dialling import Dialler
from vagent.metadata.endpoint import EndpointSnapshot
from vagent.metadata.events import (
    ForwardFailed,
    GuestCut,
    GuestUnknown,
    ReplyRelayed,
    RequestForwarded,
    RequestParsed,
    RequestRefused,
    ServiceUnknown,
    SessionReachedUpstream,
)
from vagent.metadata.exchange import Exchange
from vagent.metadata.guest import GuestConnection
from vagent.metadata.heads import RequestHeads
from vagent.metadata.limits import MAX_GUEST_CONNECTIONS_TOTAL, MAX_TURNED_AWAY
from vagent.metadata.pool import Pool
from vagent.metadata.request import Refusal, Request
from vagent.metadata.signing import IdentityBlocks, guest_address
from vagent.metadata.target import Target
from vagent.observe.event import Emit
from vagent.ports.port import Registration

Identify = Callable[[str], Registration | None]
"""Who has this identity address? A dictionary look-up, called for each request."""


@dataclass(frozen=True, slots=True)
class ProxySnapshot:
    """The proxy as it is now, for the pages."""

    port: int
    guests: int
    connections: int
    in_flight: int
    waiting: int
    endpoints: tuple[EndpointSnapshot, ...]


class MetadataProxy:
    """Serves guests on the listeners that use `factory`; forwards to the target.

    The constructor opens nothing. Without a target (`set_target` was not called, or
    called with None or no endpoints) every known guest gets 503.
    """

    def __init__(
        self,
        config: MetadataProxyConfig,
        *,
        identify: Identify,
        emit: Emit,
        reactor: Any,
    ) -> None:
        self._config = config
        self._identify = identify
        self._emit = emit
        self._deadlines = Deadlines(reactor)
        dialler = Dialler(config, emit=emit, deadlines=self._deadlines, reactor=reactor)
        self._pool = Pool(config, emit=emit, deadlines=self._deadlines, dialler=dialler)
        self._blocks = IdentityBlocks(config.shared_secret)
        self._guests: dict[str, set[GuestConnection]] = {}
        self._connections = 0
        self._has_target = False
        self._emptied: Deferred[None] | None = None
        self.factory: IProtocolFactory = _GuestFactory(self, self._deadlines)
        self.parse = RequestHeads().parse

    def set_target(self, target: Target | None) -> None:
        """Forward to these endpoints from now on; what is in flight goes on."""
        self._has_target = target is not None and bool(target.endpoints)
        self._pool.set_target(target)

    def forget(self, identity: str) -> None:
        """The port behind this identity went or was replaced: drop all of it."""
        for guest in list(self._guests.get(identity, ())):
            guest.cut()
        self._blocks.forget(identity)

    async def stop(self) -> None:
        """Reset every connection, both sides; returns when all are closed."""
        self._emptied = Deferred()
        for guests in list(self._guests.values()):
            for guest in list(guests):
                guest.cut()
        emptied = self._emptied
        self._check_emptied()
        await emptied
        await self._pool.stop()
        self._deadlines.stop()

    def snapshot(self) -> ProxySnapshot:
        """A picture of this moment."""
        endpoints = self._pool.snapshot()
        return ProxySnapshot(
            port=self._config.port,
            guests=len(self._guests),
            connections=self._connections,
            in_flight=sum(one.busy for one in endpoints),
            waiting=self._pool.waiting,
            endpoints=endpoints,
        )

    # What a guest's connection asks of us: see `Desk`.

    def arrived(self, guest: GuestConnection) -> Admission:
        """See `Desk`."""
        others = self._guests.setdefault(guest.peer, set())
        others.add(guest)
        self._connections += 1
        surplus = len(others) - self._config.max_guest_connections
        if surplus <= 0 and self._connections <= MAX_GUEST_CONNECTIONS_TOTAL:
            return Admission.WELCOME
        self._emit(GuestCut(guest.peer, "too-many-connections"))
        if surplus <= MAX_TURNED_AWAY and self._emptied is None:
            return Admission.BUSY
        return Admission.RESET

    def departed(self, guest: GuestConnection) -> None:
        """See `Desk`."""
        self._connections -= 1
        others = self._guests[guest.peer]
        others.discard(guest)
        if not others:
            del self._guests[guest.peer]
        self._check_emptied()

    def requested(self, guest: GuestConnection, request: Request, body: bytes) -> None:
        """See `Desk`."""
        registration = self._identify(guest.peer)
        if registration is None:
            self._emit(RequestParsed())
            self._emit(GuestUnknown(guest.peer))
            guest.answer(404, close=True)
        elif registration is not guest.registration and not self._meet(
            guest, registration
        ):
            return
        elif not self._has_target:
            self._emit(RequestParsed())
            self._emit(ServiceUnknown(request.method, guest.address))
            guest.answer(503, close=not request.keep_alive)
        else:
            self._emit(RequestForwarded(request.method, guest.address, request.path))
            exchange = Exchange(
                guest,
                self._pool,
                request,
                body,
                peer=guest.peer,
                guest=guest.address,
                block=guest.block,
            )
            guest.exchange = exchange
            self._pool.submit(exchange)

    def refused(self, guest: GuestConnection, refusal: Refusal) -> None:
        """See `Desk`."""
        self._emit(
            RequestRefused(
                guest.address or guest.peer,
                refusal.status,
                refusal.reason,
                refusal.method,
            )
        )

    def replied(self, guest: GuestConnection, status: int, size: int) -> None:
        """See `Desk`."""
        seconds = self._deadlines.now() - guest.started
        self._emit(ReplyRelayed(guest.address, status, size, seconds))

    def cut_short(self, guest: GuestConnection, reason: str) -> None:
        """See `Desk`."""
        self._emit(GuestCut(guest.address or guest.peer, reason))

    def _meet(self, guest: GuestConnection, registration: Registration) -> bool:
        """The connection's port is new to it, or changed. False: it was cut."""
        before = guest.registration
        if before is not None and not _is_same_guest(before, registration):
            self._emit(GuestCut(guest.address, "port-changed"))
            guest.cut()
            return False
        try:
            guest.block = self._blocks.of(registration)
        except UpstreamError as error:
            self._emit(ForwardFailed(guest.peer, "unusable-identity", str(error)))
            guest.answer(error.status, close=True)
            return False
        guest.registration = registration
        guest.address = guest_address(registration)
        if before is None:
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

    def buildProtocol(self, addr: IAddress | None) -> GuestConnection:
        """One for each connection."""
        del addr  # the transport tells it again
        return GuestConnection(self._proxy, self._deadlines)
