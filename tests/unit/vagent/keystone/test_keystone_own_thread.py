"""A thread of its own: in order, never waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from vagent.keystone.own_thread import OwnThread

PATIENCE = 30.0
"""Seconds that a busy machine may take to run a thread."""


class FakeReactor:
    """What comes from threads is called when the test says so."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], Any]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        self.calls.put(lambda: call(*args))

    def turn(self) -> None:
        """Wait for one call, and make it."""
        self.calls.get(timeout=PATIENCE)()


@pytest.fixture
def reactor() -> FakeReactor:
    """In memory."""
    return FakeReactor()


@pytest.fixture
def thread(reactor: FakeReactor) -> OwnThread:
    """Not started yet."""
    made: Any = reactor
    return OwnThread("test-own-thread", reactor=made)


def named() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "test-own-thread"]


def test_jobs_run_in_order_elsewhere(reactor: FakeReactor, thread: OwnThread) -> None:
    """In one thread, which is not this one; results come in the reactor's."""
    before = len(named())
    names, results = list[str](), list[int]()
    for number in range(5):

        def work(number: int = number) -> int:
            names.append(threading.current_thread().name)
            return number

        thread(work).addCallback(results.append)
    assert [] == results
    for _ in range(5):
        reactor.turn()
    assert [0, 1, 2, 3, 4] == results
    assert {"test-own-thread"} == set(names)
    assert 1 == len(named()) - before


def test_a_failure_is_its_callers(reactor: FakeReactor, thread: OwnThread) -> None:
    """And the next job runs."""
    failures: list[Any] = []

    def work() -> None:
        raise ValueError("no")

    thread(work).addErrback(failures.append)
    done = thread(lambda: 7)
    reactor.turn()
    reactor.turn()
    assert ["no"] == [str(one.value) for one in failures]
    assert 7 == done.result


def test_nothing_is_started_before_the_first_job(thread: OwnThread) -> None:
    """And a thread that hangs does not keep the process alive."""
    before = len(named())
    hang = threading.Event()
    thread(hang.wait)
    assert before + 1 == len(named())
    assert all(one.daemon for one in named())
    hang.set()
