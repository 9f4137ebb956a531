"""The queue of requests that wait for an upstream connection, up to a ceiling.

How many of them can be one guest's is bounded before, by its quota (`in_flight`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from vagent.metadata.limits import FEW_WAITING, MAX_WAITING, RESERVED
from vagent.metadata.upstream.circuit_breaker import CircuitBreaker
from vagent.metadata.upstream.events import HeldInVain, RequestHeld
from vagent.metadata.upstream.forwarded_request import ForwardedRequest
from vagent.observe.event import Emit
from vagent.transport.deadlines import Deadlines


class WaitingPlaces:
    """Base of what has requests that wait, up to MAX_WAITING. The last eighth of the
    places is for guests of which few wait. `size` is how many places are taken.
    """

    def __init__(self) -> None:
        self._by_port: Counter[str] = Counter()
        self.size = 0

    def take_place(self, port_id: str) -> bool:
        """Take one for a guest of this port; False: there is none for it."""
        most = MAX_WAITING
        if self._by_port[port_id] >= FEW_WAITING:
            most -= most // RESERVED
        if self.size >= most:
            return False
        self._by_port[port_id] += 1
        self.size += 1
        return True

    def give_place_back(self, port_id: str) -> None:
        """A request that had taken a place waits no longer."""
        self.size -= 1
        self._by_port[port_id] -= 1
        if not self._by_port[port_id]:
            del self._by_port[port_id]


class WaitQueue(WaitingPlaces):
    """First come, first served. Watches the deadlines of those that wait, and reports
    how long each has waited.

    `needing_fresh` is how many need a new connection.
    """

    def __init__(self, deadlines: Deadlines, emit: Emit) -> None:
        super().__init__()
        self._deadlines = deadlines
        self._emit = emit
        self._requests: dict[ForwardedRequest, float] = {}
        self._of_guest: dict[bytes, dict[ForwardedRequest, None]] = {}
        self.needing_fresh = 0

    def add(self, request: ForwardedRequest) -> bool:
        """Let it wait until `hold_until`; False: there is no place for its guest."""
        if not self.take_place(request.caller.port_id):
            return False
        self._requests[request] = self._deadlines.now()
        self._of_guest.setdefault(request.guest, {})[request] = None
        self.needing_fresh += request.needs_fresh
        request.deadline = request.hold_until
        self._deadlines.watch(request)
        return True

    def remove(self, request: ForwardedRequest, *, is_sent: bool = False) -> None:
        """Take a request out of the queue; does nothing if it is not in it. `is_sent`:
        it has got a connection.
        """
        since = self._requests.pop(request, None)
        if since is not None:
            seconds = self._deadlines.now() - since
            kind = RequestHeld if is_sent else HeldInVain
            self._emit(kind(request.request_id, seconds))
            same = self._of_guest[request.guest]
            del same[request]
            if not same:
                del self._of_guest[request.guest]
            self.give_place_back(request.caller.port_id)
            self.needing_fresh -= request.needs_fresh
            self._deadlines.unwatch(request)

    def first(
        self,
        breaker: CircuitBreaker,
        *,
        is_new: bool = True,
        guest: bytes | None = None,
    ) -> ForwardedRequest | None:
        """The request that waits longest of those that may be sent to this endpoint.

        `is_new`: over a connection that has not carried a request yet, which suits all.
        `guest`: only of this guest's.
        """
        requests: Iterable[ForwardedRequest] = self._requests
        if guest is not None:
            requests = self._of_guest.get(guest, {})
        for request in requests:
            if breaker not in request.avoid and (is_new or not request.needs_fresh):
                return request
        return None

    def __iter__(self) -> Iterator[ForwardedRequest]:
        return iter(tuple(self._requests))
