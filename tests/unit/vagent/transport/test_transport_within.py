"""Promises of vagent.transport.within."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import Clock

from vagent.transport.within import within


def waiting_for(
    work: Deferred[str], clock: Clock
) -> tuple[list[str], list[BaseException]]:
    """What `within` returns or raises after at most three seconds."""
    results: list[str] = []
    failures: list[BaseException] = []

    async def run() -> str:
        return await work

    done = Deferred.fromCoroutine(within(3.0, run, clock))
    done.addCallbacks(results.append, lambda failed: failures.append(failed.value))
    return results, failures


@pytest.mark.parametrize("late", [False, True])
def test_the_result_is_what_the_work_returns(*, late: bool) -> None:
    """If it is there at once, and if it comes in time; no timer is left."""
    clock, work = Clock(), Deferred[str]()
    if not late:
        work.callback("done")
    results, _ = waiting_for(work, clock)
    if late:
        clock.advance(2)
        work.callback("done")
    assert ["done"] == results
    assert [] == clock.getDelayedCalls()


def test_a_failure_is_raised() -> None:
    """As it is."""
    clock, work = Clock(), Deferred[str]()
    _, failures = waiting_for(work, clock)
    work.errback(ValueError("no"))
    assert ["no"] == [str(failure) for failure in failures]


def test_the_work_outlives_who_waits() -> None:
    """It is not cancelled, and its result harms nobody."""
    clock, work = Clock(), Deferred[str]()
    _, failures = waiting_for(work, clock)
    clock.advance(3)
    assert [DeferredTimeout] == [type(failure) for failure in failures]
    assert not work.called
    work.callback("too late")
