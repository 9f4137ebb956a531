"""Where a request's answer comes from: kept, under way already, or the upstream.

Joins the cache to the pool. Who may ask, and how much, was decided before.
"""

from __future__ import annotations

from vagent.metadata.cache.cache import GuestCache, ResponseCache
from vagent.metadata.cache.coalescing import CoalescedRequest
from vagent.metadata.events import GuestLimited, StaleServed
from vagent.metadata.guest.client import Client
from vagent.metadata.guest.quota import QuotaLimits, status_when_over
from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.limits import STALE_SECONDS
from vagent.metadata.upstream.forwarded_request import (
    ForwardedRequest,
    ResponseReceiver,
)
from vagent.metadata.upstream.pool import ConnectionPool
from vagent.observe.event import Emit
from vagent.transport.deadlines import Deadlines


class CachingForwarder:
    """The tower of all flights; it counts who waits, and times what is kept."""

    def __init__(
        self,
        pool: ConnectionPool,
        *,
        quota_limits: QuotaLimits,
        cache: ResponseCache,
        emit: Emit,
        deadlines: Deadlines,
    ) -> None:
        self._pool = pool
        self._quota_limits = quota_limits
        self._cache = cache
        self._emit = emit
        self._deadlines = deadlines
        self.deadline = 0.0

    def answer(self, guest: Client, body: bytes) -> None:
        """Answer the guest's request, now or when the upstream has."""
        request, cache, registration = guest.request, self._cache, guest.registration
        key = _key(guest)
        if not key or not cache.ttl or registration is None:
            if self._admits(guest):
                if not request.is_safe:
                    cache.drop(guest.peer)
                self._forward(guest, body)
            return
        kept = cache.fresh(guest.peer, registration, key, guest.started)
        if kept is not None:
            guest.deliver(kept)
            return
        shelf = cache.shelf(guest.peer, registration)
        if self._pool.is_down and self._serve_stale(guest, shelf):
            return
        if not self._admits(guest):
            return
        if request.method == b"GET":
            self._join(guest, shelf)
        else:
            self._forward(guest, body)

    def settled(self, guest: Client) -> None:
        """The guest's request is over. What was read while it changed things is old."""
        guest.account.in_flight -= 1
        if not guest.request.is_safe:
            self._cache.drop(guest.peer)

    def turn_away(self, guest: Client, reason: str) -> None:
        """The guest has made too many requests; `reason` is of a closed set."""
        guest.account.limited += 1
        status = status_when_over(guest.request.path)
        self._emit(GuestLimited(guest.request_id, guest.caller, status, reason))
        guest.answer(status, close=not guest.request.keep_alive)

    # What a flight reports: see `Tower`.

    def landed(
        self, flight: CoalescedRequest, head: ResponseHead, content: bytes
    ) -> None:
        """See `Tower`."""
        self.closed(flight)
        now = self._deadlines.now()
        self._cache.store(flight.shelf, flight.key, head, content, now)
        if self.deadline <= now:
            self.deadline = now + STALE_SECONDS
            self._deadlines.watch(self)

    def closed(self, flight: CoalescedRequest) -> None:
        """See `Tower`."""
        flight.shelf.flights.pop(flight.key, None)

    def relented(self, flight: CoalescedRequest, guest: Client) -> bool:
        """See `Tower`."""
        return self._serve_stale(guest, flight.shelf)

    def failed(self, flight: CoalescedRequest, guest: Client, status: int) -> None:
        """See `Tower`."""
        if not self._serve_stale(guest, flight.shelf):
            guest.answer(status, close=not guest.request.keep_alive)

    def alone(self, guest: Client) -> None:
        """See `Tower`."""
        self._forward(guest, b"")

    def expired(self) -> None:
        """Time to throw away what is too old."""
        later = self._cache.sweep(self._deadlines.now())
        if later is None:
            self.deadline = 0.0
            self._deadlines.unwatch(self)
        else:
            self.deadline = later

    def _admits(self, guest: Client) -> bool:
        """May one more request of the guest wait for the upstream? Then it counts."""
        if guest.account.in_flight >= self._quota_limits.in_flight:
            self.turn_away(guest, "too-many-requests")
            return False
        guest.account.in_flight += 1
        return True

    def _serve_stale(self, guest: Client, shelf: GuestCache) -> bool:
        now = self._deadlines.now()
        kept = self._cache.stale(shelf, _key(guest), now)
        if kept is None:
            return False
        self._emit(StaleServed(guest.request_id, guest.caller, now - kept.fresh_until))
        guest.deliver(kept)
        return True

    def _join(self, guest: Client, shelf: GuestCache) -> None:
        key = _key(guest)
        flight = shelf.flights.get(key)
        if flight is not None:
            self._cache.joined += 1
            flight.board(guest)
            return
        flight = shelf.flights[key] = CoalescedRequest(self, shelf, key)
        flight.board(guest)
        exchange = self._exchange(guest, flight, b"")
        flight.departs(exchange)
        self._pool.submit(exchange)

    def _forward(self, guest: Client, body: bytes) -> None:
        exchange = self._exchange(guest, guest, body)
        guest.exchange = exchange
        self._pool.submit(exchange)

    def _exchange(
        self, guest: Client, asker: ResponseReceiver, body: bytes
    ) -> ForwardedRequest:
        return ForwardedRequest(
            asker,
            self._pool,
            guest.request,
            body,
            peer=guest.peer,
            request_id=guest.request_id,
            caller=guest.caller,
            block=guest.block,
        )


def _key(guest: Client) -> bytes:
    """What replies to the guest's request are kept by; b"" for one that is not."""
    key = guest.request.key
    return guest.variant + key if key and guest.variant else key
