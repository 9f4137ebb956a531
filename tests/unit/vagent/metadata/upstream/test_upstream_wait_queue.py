"""The queue of requests that wait for a connection: order, suitability, ceiling."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from vagent.metadata.events import Caller
from vagent.metadata.http.request_head import RequestHead, parse_request_head
from vagent.metadata.limits import FEW_WAITING, MAX_WAITING, RESERVED
from vagent.metadata.request_id import shown
from vagent.metadata.upstream.circuit_breaker import CircuitBreaker
from vagent.metadata.upstream.events import HeldInVain, RequestHeld
from vagent.metadata.upstream.forwarded_request import ForwardedRequest
from vagent.metadata.upstream.wait_queue import WaitQueue
from vagent.observe.event import Event
from vagent.transport.deadlines import TICK_SECONDS, Deadlines

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"


def request(
    head: bytes = GET, *avoid: CircuitBreaker, port: str = "", guest: bytes = b""
) -> ForwardedRequest:
    """One that may wait for ten seconds."""
    parsed = parse_request_head(head)
    assert isinstance(parsed, RequestHead)
    nobody: Any = None
    made = ForwardedRequest(
        nobody,
        nobody,
        parsed,
        b"",
        request_id=1,
        caller=Caller(port, "", ""),
        identity_headers=guest,
    )
    made.avoid = avoid
    made.hold_until = 10.0
    return made


def queue_of(*requests: ForwardedRequest) -> WaitQueue:
    queue = WaitQueue(Deadlines(Clock()), lambda _: None)
    assert all(queue.add(one) for one in requests)
    return queue


def test_first_come_first_served() -> None:
    """The order is that of coming; who leaves is forgotten, also when told twice."""
    first, second = request(), request()
    queue = queue_of(first, second)
    breaker = CircuitBreaker()
    assert first is queue.first(breaker)
    for _ in range(2):
        queue.remove(first)
        assert (1, [second]) == (queue.size, list(queue))
    assert second is queue.first(breaker)
    queue.remove(second)
    assert (0, None) == (queue.size, queue.first(breaker))


def test_a_request_waits_for_an_endpoint_that_has_not_failed_it() -> None:
    """Another endpoint may serve it, and those behind it do not wait for it."""
    broken, well = CircuitBreaker(), CircuitBreaker()
    first, second = request(GET, broken), request()
    queue = queue_of(first, second)
    assert (second, first) == (queue.first(broken), queue.first(well))


def test_a_used_connection_does_not_suit_all() -> None:
    """What must not be sent twice needs one that has carried nothing."""
    first, second = request(POST), request()
    queue = queue_of(first, second)
    breaker = CircuitBreaker()
    assert 1 == queue.needing_fresh
    assert first is queue.first(breaker)
    assert second is queue.first(breaker, is_new=False)
    queue.remove(second)
    assert queue.first(breaker, is_new=False) is None
    queue.remove(first)
    assert 0 == queue.needing_fresh


def test_one_guests_requests_are_found() -> None:
    """In their order, those alone, and no more once they have gone."""
    other = request(guest=b"other")
    first, second = request(POST, guest=b"this"), request(guest=b"this")
    queue = queue_of(other, first, second)
    breaker = CircuitBreaker()
    assert first is queue.first(breaker, guest=b"this")
    assert second is queue.first(breaker, guest=b"this", is_new=False)
    queue.remove(first)
    assert second is queue.first(breaker, guest=b"this")
    queue.remove(second)
    assert queue.first(breaker, guest=b"this") is None
    assert other is queue.first(breaker)


@pytest.mark.parametrize("surplus", [0, 1])
def test_it_has_a_ceiling(surplus: int) -> None:
    """At MAX_WAITING the next one is refused; one that leaves makes room."""
    ports = map(str, range(2 * MAX_WAITING))
    waiting = MAX_WAITING - 1 + surplus
    queue = queue_of(*(request(port=next(ports)) for _ in range(waiting)))
    refused = request(port=next(ports))
    assert (not surplus) is queue.add(refused)
    assert MAX_WAITING == queue.size
    queue.remove(next(iter(queue)))
    assert queue.add(request(port=next(ports)))


def test_the_last_places_are_for_guests_of_which_few_requests_wait() -> None:
    """One guest, or many, that take what they may leave room for the others."""
    rest = MAX_WAITING // RESERVED
    queue = queue_of(*(request(port="greedy") for _ in range(MAX_WAITING - rest)))
    assert not queue.add(request(port="greedy"))
    modest = [request(port="modest") for _ in range(FEW_WAITING + 1)]
    assert [True] * FEW_WAITING + [False] == [queue.add(one) for one in modest]
    queue.remove(modest[0])
    assert queue.add(modest[-1])
    assert not queue.add(request(port="modest"))
    queue.remove(modest[1])
    queue.remove(modest[-1])
    again = [request(port="modest") for _ in range(FEW_WAITING + 1)]
    assert [True] * FEW_WAITING + [False] == [queue.add(one) for one in again]


def test_how_long_each_has_waited_is_told_once() -> None:
    """From its coming, and how it ended; who is not in the queue has not waited."""
    clock, told = Clock(), list[Event]()
    queue = WaitQueue(Deadlines(clock), told.append)
    first, second = request(), request()
    queue.add(first)
    clock.advance(1.5)
    queue.add(second)
    clock.advance(0.25)
    queue.remove(first, is_sent=True)
    for _ in range(2):
        queue.remove(second)
    assert [RequestHeld(1, 1.75), HeldInVain(1, 0.25)] == told
    assert ["sent", "failed"] == [one.timed_as for one in told]
    assert {"request": shown(1), "seconds": 1.75} == told[0].facts()


def test_who_waits_is_told_when_its_time_is_up() -> None:
    """And only while it waits."""
    clock = Clock()
    queue = WaitQueue(Deadlines(clock), lambda _: None)
    stays, leaves = request(), request()
    told: list[ForwardedRequest] = []

    class Owner:
        """Pool and receiver of a request; notes which one expired."""

        def withdraw(self, expired: ForwardedRequest) -> None:
            told.append(expired)
            queue.remove(expired)

        def report(self, *_: object) -> None:
            """Not looked at."""

        def send_local_response(self, *_: object, **__: object) -> None:
            """Not looked at."""

    owner: Any = Owner()
    for made in (stays, leaves):
        made._pool = made._receiver = owner
        queue.add(made)
    queue.remove(leaves)
    for _ in range(round(10.0 / TICK_SECONDS) + 1):
        clock.advance(TICK_SECONDS)
    assert [stays] == told
    assert [] == clock.getDelayedCalls()
