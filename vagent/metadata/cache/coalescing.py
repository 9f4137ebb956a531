"""One upstream request that several connections of one guest wait for.

To its exchange a flight is the asker. A whole reply goes to everybody on board, each
in the form that its own request wants; a reply too large to be collected goes to the
one who began, and the others ask for themselves. Knows neither cache nor pool: its
tower does.
"""

from __future__ import annotations

from typing import Protocol

from vagent.metadata.cache.cache import GuestCache
from vagent.metadata.guest.client import Client
from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.upstream.forwarded_request import ForwardedRequest

SERVER_ERRORS = frozenset((500, 502, 503, 504))
"""Where what was kept may be given instead (RFC 5861 §4): Nova says 500 while Neutron
is away, and a balancer before it says 503 while Nova is."""


class Tower(Protocol):
    """Who sends flights out."""

    def landed(
        self, flight: CoalescedRequest, head: ResponseHead, content: bytes
    ) -> None:
        """The whole reply is here; nobody may board any more."""

    def closed(self, flight: CoalescedRequest) -> None:
        """Nobody may board any more."""

    def relented(self, flight: CoalescedRequest, guest: Client) -> bool:
        """The reply is an error of the server: was there something better to give?"""

    def failed(self, flight: CoalescedRequest, guest: Client, status: int) -> None:
        """There will be no reply: answer this guest, with `status` or better."""

    def alone(self, guest: Client) -> None:
        """The reply cannot be shared: ask again for this guest."""


class Seat:
    """One connection on a flight."""

    __slots__ = ("_flight", "guest")

    def __init__(self, flight: CoalescedRequest, guest: Client) -> None:
        self._flight = flight
        self.guest = guest

    def caught_up(self) -> None:
        """See `Waiting`."""
        self._flight.caught_up()

    def abandoned(self) -> None:
        """See `Waiting`."""
        self._flight.left(self)


class CoalescedRequest:
    """The asker of one exchange. The first on board is the one whose request it is."""

    __slots__ = ("_exchange", "_first", "_seats", "_streams", "_tower", "key", "shelf")

    def __init__(self, tower: Tower, shelf: GuestCache, key: bytes) -> None:
        self._tower = tower
        self.shelf = shelf
        self._seats: list[Seat] = []
        self._first: Seat | None = None
        self._exchange: ForwardedRequest | None = None
        self._streams = False
        self.key = key

    def departs(self, exchange: ForwardedRequest) -> None:
        """This exchange asks for it."""
        self._exchange = exchange

    def board(self, guest: Client) -> None:
        """The guest waits for this flight from now on."""
        seat = Seat(self, guest)
        guest.exchange = seat
        self._seats.append(seat)
        self._first = self._first or seat

    def left(self, seat: Seat) -> None:
        """The guest has gone; with the last one the request ends."""
        if seat in self._seats:
            self._seats.remove(seat)
            if not self._seats:
                self._end()

    def caught_up(self) -> None:
        """The guest has taken what was relayed."""
        if self._streams and self._exchange is not None:
            self._exchange.caught_up()

    # What an exchange does to its asker: see `Asker`.

    def whole(self, head: ResponseHead, content: bytes) -> None:
        """See `Asker`."""
        if head.status in SERVER_ERRORS:
            self._tower.closed(self)
            for guest in self._disembark():
                if not self._tower.relented(self, guest):
                    guest.whole(head, content)
            return
        self._tower.landed(self, head, content)
        for guest in self._disembark():
            guest.whole(head, content)

    def relay(self, data: bytes) -> bool:
        """See `Asker`. Comes only for a reply that is too large to be collected."""
        if not self._streams:
            self._streams = True
            self._keep_only_the_first()
        return not self._seats or self._seats[0].guest.relay(data)

    def finish(self, status: int, size: int, *, close: bool) -> None:
        """See `Asker`."""
        for guest in self._disembark():
            guest.finish(status, size, close=close)

    def answer(self, status: int, *, close: bool) -> None:
        """See `Asker`. Whether to close is each guest's own matter."""
        del close
        self._tower.closed(self)
        for guest in self._disembark():
            self._tower.failed(self, guest, status)

    def cut(self) -> None:
        """See `Asker`."""
        self._tower.closed(self)
        for guest in self._disembark():
            guest.cut()

    def _disembark(self) -> list[Client]:
        seats, self._seats = self._seats, []
        return [seat.guest for seat in seats if seat.guest.exchange is seat]

    def _keep_only_the_first(self) -> None:
        """The reply is framed for the first request, so it fits nobody else's."""
        self._tower.closed(self)
        others = [seat for seat in self._seats if seat is not self._first]
        self._seats = [seat for seat in self._seats if seat is self._first]
        for seat in others:
            self._tower.alone(seat.guest)
        if not self._seats:
            self._end()

    def _end(self) -> None:
        self._tower.closed(self)
        if self._exchange is not None:
            self._exchange.abandoned()
