"""The agent's account: shared questions, pauses after failures, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from vagent.keystone.account import PAUSE, KeystoneAccount
from vagent.keystone.credentials import CredentialsError, Headers
from vagent.keystone.events import (
    CredentialsFailed,
    CredentialsFetched,
    CredentialsRefused,
)
from vagent.observe.event import Event


class FakeSession:
    """Gives the token of its number, or fails."""

    def __init__(self) -> None:
        self.number = 0
        self.fails = ""
        self.asked = 0
        self.refusals: list[Headers] = []

    def headers(self) -> Headers:
        self.asked += 1
        if self.fails:
            raise CredentialsError(self.fails)
        return (("X-Auth-Token", f"t{self.number}"),)

    def refused(self, headers: Headers) -> None:
        self.refusals.append(headers)
        self.number += 1


class Rig:
    """An account whose thread works when the test says so."""

    def __init__(self) -> None:
        self.session = FakeSession()
        self.clock = Clock()
        self.events: list[Event] = []
        self.jobs: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        session: Any = self.session
        self.account = KeystoneAccount(
            session,
            run_in_thread=self._later,
            emit=self.events.append,
            clock=self.clock,
        )

    def _later(self, work: Callable[[], Any], /) -> Deferred[Any]:
        answered: Deferred[Any] = Deferred()
        self.jobs.append((work, answered))
        return answered

    def ask(self) -> list[Any]:
        results: list[Any] = []
        asked = Deferred.fromCoroutine(self.account.headers())
        asked.addCallbacks(results.append, lambda one: results.append(one.value))
        return results

    def work(self) -> None:
        """Let the thread do what it was given."""
        while self.jobs:
            work, answered = self.jobs.pop(0)
            try:
                result = work()
            except CredentialsError as error:
                answered.errback(error)
            else:
                answered.callback(result)


@pytest.fixture
def rig() -> Rig:
    """With a Keystone that works."""
    return Rig()


T0, T1 = ((("X-Auth-Token", f"t{number}"),) for number in (0, 1))


def test_questions_at_the_same_time_are_one(rig: Rig) -> None:
    """Keystone is asked once, and all get what it gives."""
    results = [rig.ask() for _ in range(3)]
    rig.clock.advance(0.5)
    rig.work()
    assert [[T0]] * 3 == results
    assert 1 == rig.session.asked
    assert [CredentialsFetched(0.5)] == rig.events


def test_the_same_credentials_are_no_event(rig: Rig) -> None:
    """The session holds a token for hours; only a new one is told."""
    for _ in range(3):
        rig.ask()
        rig.work()
    assert 1 == len(rig.events)


def test_after_a_failure_keystone_is_left_alone(rig: Rig) -> None:
    """For two seconds all fail at once with its reason; then it is asked again."""
    rig.session.fails = "connection refused"
    first = rig.ask()
    rig.work()
    second = rig.ask()
    assert ["connection refused"] * 2 == [str(one) for (one,) in (first, second)]
    assert 1 == rig.session.asked
    assert [CredentialsFailed("connection refused")] == rig.events
    rig.session.fails = ""
    rig.clock.advance(PAUSE)
    third = rig.ask()
    rig.work()
    assert [T0] == third


def test_refused_credentials_are_replaced(rig: Rig) -> None:
    """The session hears of it before it is asked again."""
    rig.ask()
    rig.work()
    rig.account.refused(T0)
    renewed = rig.ask()
    rig.work()
    assert [T0] == rig.session.refusals
    assert [T1] == renewed
    assert CredentialsRefused() in rig.events


def test_who_was_refused_does_not_join_an_older_question(rig: Rig) -> None:
    """It may bring the very credentials that were refused."""
    old = rig.ask()
    rig.account.refused(T0)
    new = rig.ask()
    rig.work()
    assert ([T0], [T1]) == (old, new)
