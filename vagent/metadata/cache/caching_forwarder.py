"""Where a response comes from: the cache, a request in flight, or the upstream.

Concurrent requests of one guest for the same are coalesced: one goes upstream, and its
response answers all of them (a single flight). When the upstream fails, a stale entry
of the cache is served instead of the error (RFC 5861 §4). Whether the guest may ask was
decided before.
"""

from __future__ import annotations

from vagent.metadata.cache.cache import (
    GuestCache,
    ResponseCache,
    may_be_shared,
)
from vagent.metadata.events import CoalescedFailed, GuestLimited, StaleServed
from vagent.metadata.guest.connection import DownstreamConnection
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

SERVER_ERRORS = frozenset((500, 502, 503, 504))
"""Statuses for which a stale entry is served instead. nova-api says 500 while Neutron
is away, and a load balancer says 503 while nova-api is."""


class CachingForwarder:
    """Answers requests that were admitted. Counts those that wait for the upstream."""

    def __init__(
        self,
        pool: ConnectionPool,
        *,
        limits: QuotaLimits,
        cache: ResponseCache,
        emit: Emit,
        deadlines: Deadlines,
    ) -> None:
        self._pool = pool
        self.submit = pool.submit
        self._limits = limits
        self._cache = cache
        self._emit = emit
        self._deadlines = deadlines
        self.deadline = 0.0

    def respond(self, connection: DownstreamConnection, body: bytes) -> None:
        """Answer the connection's request, now or when the upstream has answered."""
        request, cache = connection.request, self._cache
        key, registration = request.key, connection.registration
        if not key or not cache.ttl or registration is None:
            if not self.takes_place(connection):
                self.refuse(connection, "too-many-requests")
                return
            if not request.is_safe:
                cache.drop(connection.main_identity)
            self.forward(connection, body)
            return
        prefix = connection.identity.cache_prefix
        if prefix:
            key = prefix + key
        guest_cache, entry = cache.look_up(
            connection.main_identity, registration, key, connection.started
        )
        if entry is not None:
            connection.send_rendered(entry.response)
            return
        if self._pool.is_down and self.serve_stale(connection, guest_cache, key):
            return
        if not self.admits(connection):
            return
        if request.method == b"GET":
            self._coalesce(connection, guest_cache, key)
        else:
            self.forward(connection, body)

    def request_done(self, connection: DownstreamConnection) -> None:
        """The request that waited for the upstream is over.

        A request that changes something (POST, PUT, DELETE) also invalidates what was
        cached while it was under way.
        """
        connection.quota.in_flight -= 1
        if not connection.request.is_safe:
            self._cache.drop(connection.main_identity)

    def admits(self, connection: DownstreamConnection) -> bool:
        """As `takes_place`, and answers the request if it may not."""
        if self.takes_place(connection):
            return True
        self.refuse(connection, "too-many-requests")
        return False

    def takes_place(self, connection: DownstreamConnection) -> bool:
        """May one more request of the guest wait for the upstream? Counts it if so."""
        quota = connection.quota
        if quota.in_flight >= self._limits.in_flight:
            return False
        quota.in_flight += 1
        return True

    def refuse(self, connection: DownstreamConnection, reason: str) -> None:
        """The guest is over a limit; `reason`, of a closed set, says which."""
        connection.quota.limited += 1
        request = connection.request
        status = status_when_over(request.path)
        self._emit(
            GuestLimited(connection.request_id, connection.caller, status, reason)
        )
        connection.send_local_response(status, close=not request.keep_alive)

    def forward(self, connection: DownstreamConnection, body: bytes) -> None:
        """Send the request upstream for this connection alone."""
        forwarded = self.request_for(connection, connection, body)
        connection.pending = forwarded
        self.submit(forwarded)

    def request_for(
        self,
        connection: DownstreamConnection,
        receiver: ResponseReceiver,
        body: bytes,
    ) -> ForwardedRequest:
        """The connection's request as one to the upstream, not sent yet."""
        return ForwardedRequest(
            receiver,
            self._pool,
            connection.request,
            body,
            request_id=connection.request_id,
            caller=connection.caller,
            identity_headers=connection.identity.headers,
        )

    def failed(
        self, connection: DownstreamConnection, forwarded: ForwardedRequest, status: int
    ) -> None:
        """The request upstream that the connection shared has failed."""
        number = connection.request_id
        if number != forwarded.request_id:
            shared = forwarded.request_id
            self._emit(CoalescedFailed(number, connection.caller, shared, status))
        close = not connection.request.keep_alive
        connection.send_local_response(status, close=close)

    def store(
        self, cache: GuestCache, key: bytes, head: ResponseHead, content: bytes
    ) -> None:
        """Cache a complete response, and see that it is dropped when it is too old."""
        now = self._deadlines.now()
        self._cache.store(cache, key, head, content, now)
        if self.deadline <= now:
            self.deadline = now + STALE_SECONDS
            self._deadlines.watch(self)

    def serve_stale(
        self, connection: DownstreamConnection, cache: GuestCache, key: bytes
    ) -> bool:
        """Serve an old response because the upstream has none; False: there is none."""
        now = self._deadlines.now()
        entry = self._cache.stale(cache, key, now)
        if entry is None:
            return False
        late = now - entry.fresh_until
        self._emit(StaleServed(connection.request_id, connection.caller, late))
        connection.send_rendered(entry.response)
        return True

    def expired(self) -> None:
        """It is time to drop what is too old."""
        later = self._cache.sweep(self._deadlines.now())
        if later is None:
            self.deadline = 0.0
            self._deadlines.unwatch(self)
        else:
            self.deadline = later

    def _coalesce(
        self, connection: DownstreamConnection, cache: GuestCache, key: bytes
    ) -> None:
        """Join the request in flight for the same, or send one that others can join."""
        coalesced = cache.in_flight.get(key)
        if coalesced is not None:
            self._cache.joined += 1
            coalesced.join(connection)
            return
        coalesced = CoalescedRequest(self, cache, key, connection)
        coalesced.forwarded = self.request_for(connection, coalesced, b"")
        cache.in_flight[key] = coalesced
        self.submit(coalesced.forwarded)


class CoalescedRequest:
    """A request upstream for which several connections of one guest wait.

    It receives the response (a `ResponseReceiver`), and each connection gets it in the
    form that its own request asks for. A response that is too large to be collected, or
    that says that it must not be given again, goes to the first connection alone; the
    others then send requests of their own.
    """

    __slots__ = (
        "_cache",
        "_first",
        "_forwarder",
        "_key",
        "_streams",
        "_waiting",
        "forwarded",
    )

    forwarded: ForwardedRequest

    def __init__(
        self,
        forwarder: CachingForwarder,
        cache: GuestCache,
        key: bytes,
        first: DownstreamConnection,
    ) -> None:
        self._forwarder = forwarder
        self._cache = cache
        self._key = key
        self._first = first
        self._waiting = [first]
        self._streams = False
        first.pending = self

    def join(self, connection: DownstreamConnection) -> None:
        """This connection waits for the response, too."""
        self._waiting.append(connection)
        connection.pending = self

    # The methods of `PendingResponse`: a guest's connection calls them.

    def guest_caught_up(self) -> None:
        """The guest has taken what was relayed."""
        if self._streams:
            self.forwarded.guest_caught_up()

    def guest_ended(self) -> None:
        """A guest that half-closed still gets its response."""

    def guest_left(self, connection: DownstreamConnection) -> None:
        """A connection is closed. With the last one the request ends."""
        if connection in self._waiting:
            self._waiting.remove(connection)
            if not self._waiting:
                self._abandon()

    # The methods of `ResponseReceiver`: the upstream request calls them.

    def send_response(self, head: ResponseHead, content: bytes) -> None:
        """Send the response to all; after an error of the server, a stale one if there
        is any.
        """
        if head.status in SERVER_ERRORS:
            for connection in self._end():
                if not self._serve_stale(connection):
                    connection.send_response(head, content)
            return
        if not (head.awaits_instance or may_be_shared(head, content)):
            self._keep_only_the_first()
        self._forwarder.store(self._cache, self._key, head, content)
        for connection in self._end():
            connection.send_response(head, content)

    def relay(self, data: bytes) -> bool:
        """Send a part of a large response, which is framed for the first connection."""
        if not self._streams:
            self._streams = True
            self._keep_only_the_first()
            if not self._waiting:
                self._abandon()
        return not self._waiting or self._waiting[0].relay(data)

    def finish(self, status: int, size: int, *, close: bool) -> None:
        """All parts of a large response were relayed."""
        for connection in self._end():
            connection.finish(status, size, close=close)

    def send_local_response(self, status: int, *, close: bool) -> None:
        """The upstream failed: serve stale, or answer each connection with an error."""
        del close  # each connection's own request decides
        for connection in self._end():
            if not self._serve_stale(connection):
                self._forwarder.failed(connection, self.forwarded, status)

    def reset(self) -> None:
        """The upstream failed in the middle of a large response."""
        for connection in self._end():
            connection.reset()

    def _serve_stale(self, connection: DownstreamConnection) -> bool:
        return self._forwarder.serve_stale(connection, self._cache, self._key)

    def _end(self) -> list[DownstreamConnection]:
        """Let nobody join any more; returns the connections that waited."""
        self._close()
        connections, self._waiting = self._waiting, []
        return connections

    def _close(self) -> None:
        """Nobody can join any more."""
        in_flight = self._cache.in_flight
        if in_flight.get(self._key) is self:
            del in_flight[self._key]

    def _keep_only_the_first(self) -> None:
        self._close()
        waiting = self._waiting
        self._waiting = [one for one in waiting if one is self._first]
        for connection in waiting:
            if connection is not self._first:
                self._forwarder.forward(connection, b"")

    def _abandon(self) -> None:
        self._close()
        self.forwarded.abandon()
