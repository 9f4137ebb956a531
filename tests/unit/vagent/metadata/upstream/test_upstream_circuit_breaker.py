"""The state of an endpoint, row by row of the table, and which endpoint is chosen."""

from __future__ import annotations

import itertools

from vagent.metadata.limits import MAX_BACKOFF_SECONDS, RETRY_SECONDS, SUSPECT_SECONDS
from vagent.metadata.upstream.circuit_breaker import (
    TRANSITIONS,
    BreakerState,
    CircuitBreaker,
    EndpointOutcome,
    backoff,
    choose,
)


def test_every_transition_is_named() -> None:
    """No state meets an outcome that the table does not know."""
    assert set(itertools.product(BreakerState, EndpointOutcome)) == set(TRANSITIONS)


def test_failed_replies_never_take_an_endpoint_down() -> None:
    """Guests can provoke them, so they must not hurt other guests."""
    record = CircuitBreaker()
    for _ in range(100):
        record.note(EndpointOutcome.REPLY_FAILED, 1.0)
    assert BreakerState.SUSPECT is record.state


def test_only_a_reply_proves_that_an_endpoint_is_well() -> None:
    """Connecting is not enough; the pause goes on growing."""
    record = CircuitBreaker()
    for _ in range(3):
        record.note(EndpointOutcome.CONNECT_FAILED, 1.0)
        record.note(EndpointOutcome.CONNECTED, 1.0)
    assert (BreakerState.SUSPECT, 3) == (record.state, record.failures)
    record.note(EndpointOutcome.REPLIED, 2.0)
    assert (BreakerState.UP, 0) == (record.state, record.failures)


def test_who_refuses_our_certificate_stays_down_until_it_replies() -> None:
    """TLS 1.3 connects each time, and refuses later; the alert may be lost, too."""
    breaker = CircuitBreaker()
    assert breaker.note(EndpointOutcome.REFUSED, 1.0)
    for now in (2.0, 3.0):
        assert not breaker.note(EndpointOutcome.CONNECTED, now)
        assert not breaker.note(EndpointOutcome.REPLY_FAILED, now)
        assert not breaker.note(EndpointOutcome.REFUSED, now)
    assert (BreakerState.DOWN, 3, 3.0) == (
        breaker.state,
        breaker.failures,
        breaker.failed_at,
    )
    assert breaker.is_refused
    assert breaker.note(EndpointOutcome.REPLIED, 4.0)
    assert (BreakerState.UP, 0) == (breaker.state, breaker.failures)
    assert not breaker.is_refused


def test_another_failure_follows_the_refusal() -> None:
    """Then nobody listens any more, and a connection is news again."""
    breaker = CircuitBreaker()
    breaker.note(EndpointOutcome.REFUSED, 1.0)
    breaker.note(EndpointOutcome.CONNECT_FAILED, 2.0)
    assert breaker.note(EndpointOutcome.CONNECTED, 3.0)
    assert BreakerState.SUSPECT is breaker.state


def test_backoff_doubles_to_its_ceiling() -> None:
    """0.5, 1, 2, 4, 8, 8 … seconds."""
    assert [0.5, 1, 2, 4, 8, 8] == [backoff(n) for n in range(1, 7)]
    assert MAX_BACKOFF_SECONDS == backoff(10_000)


def test_knocking_is_quick_while_somebody_waits() -> None:
    """A long dead endpoint is tried soon when a request needs it, one at a time."""
    record = CircuitBreaker(BreakerState.DOWN, failures=9, failed_at=100.0)
    assert not record.may_connect(100.0 + RETRY_SECONDS - 0.01, wanted=True)
    assert record.may_connect(100.0 + RETRY_SECONDS, wanted=True)
    assert not record.may_connect(100.0 + RETRY_SECONDS, wanted=False)
    assert record.may_connect(100.0 + MAX_BACKOFF_SECONDS, wanted=False)
    record.connecting = 1
    assert not record.may_connect(200.0, wanted=True)


def test_choice() -> None:
    """Healthiest, then least busy, then in turn; never one that is down."""
    up, busy, suspect, down = (
        CircuitBreaker(),
        CircuitBreaker(busy=3),
        CircuitBreaker(BreakerState.SUSPECT, failed_at=10.0),
        CircuitBreaker(BreakerState.DOWN),
    )
    assert 1 == choose([down, up, busy], 10.0, turn=0)
    assert 1 == choose([suspect, busy], 10.0, turn=0)
    assert 0 == choose([suspect, busy], 10.0 + SUSPECT_SECONDS, turn=0)
    assert 0 == choose([suspect, down], 10.0, turn=0)
    assert choose([down], 10.0, turn=0) is None
    assert choose([], 10.0, turn=0) is None


def test_equals_take_turns() -> None:
    """Idle endpoints share the load."""
    records = [CircuitBreaker(), CircuitBreaker(), CircuitBreaker()]
    assert [0, 1, 2, 0] == [choose(records, 0.0, turn=turn) for turn in range(4)]


def test_avoided_endpoints_come_last() -> None:
    """An endpoint that failed the request is used again only without another."""
    first, second = CircuitBreaker(), CircuitBreaker(BreakerState.SUSPECT)
    assert 1 == choose([first, second], 0.0, turn=0, avoid=(first,))
    assert 0 == choose([first], 0.0, turn=0, avoid=(first,))


def test_when_it_failed_is_when_it_failed() -> None:
    """A connect that succeeds and a response are no failures."""
    breaker = CircuitBreaker()
    for now, outcome in enumerate(
        (
            EndpointOutcome.REPLY_FAILED,
            EndpointOutcome.CONNECTED,
            EndpointOutcome.REPLIED,
            EndpointOutcome.CONNECT_FAILED,
            EndpointOutcome.CONNECTED,
        ),
        start=1,
    ):
        breaker.note(outcome, float(now))
        assert {1: 1, 2: 1, 3: 1, 4: 4, 5: 4}[now] == breaker.failed_at
