"""Promises of provision.config_api.effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from provision.config_api.effect import DEADLINE, MAX_TEXT, YES, Effect
from provision.config_api.reply import RefusedError
from vagent.errors import KernelError, StoreError
from vagent.linklocal.codec import PROPERTY, wire_entry
from vagent.linklocal.table import NotInForce

NTP, DNS = wire_entry(name="NTP"), wire_entry(name="dns")
OLD = {PROPERTY: {"linklocal_service_entry": [DNS]}}
NEW = {PROPERTY: {"linklocal_service_entry": [DNS, NTP]}}
SEEN = NotInForce("dns", "duplicate", "taken")


class Agent:
    """Settles, fails, or takes its time."""

    def __init__(self) -> None:
        self.settled: Deferred[None] = Deferred()
        self.left: tuple[NotInForce, ...] = ()

    async def settle(self) -> None:
        await self.settled

    def not_in_force(self) -> tuple[NotInForce, ...]:
        return self.left


class Change:
    """A change that waits for an agent."""

    def __init__(self, old: Mapping[str, Any] = OLD, new: Any = NEW) -> None:
        self.clock, self.agent = Clock(), Agent()
        self.found: list[object] = []
        effect = Effect(self.agent, self.clock).of_change(old, new)
        done = Deferred.fromCoroutine(effect)
        done.addCallbacks(
            self.found.append, lambda failed: self.found.append(failed.value)
        )

    def refusal(self) -> str:
        (found,) = self.found
        assert isinstance(found, RefusedError)
        assert 500 == found.status
        return str(found)


def test_a_change_is_answered_when_it_is_in_force() -> None:
    """Not before."""
    change = Change()
    assert [] == change.found
    change.agent.settled.callback(None)
    assert [YES] == change.found


def test_what_was_changed_and_is_not_in_force_is_said() -> None:
    """And nothing of entries that were not changed."""
    change = Change()
    change.agent.left = (
        SEEN,
        NotInForce("ntp", "unresolved", "n\u00e4me is away"),
    )
    change.agent.settled.callback(None)
    assert ["no: ntp: unresolved: n\\xe4me is away"] == change.found


def test_an_entry_that_is_written_again_and_is_not_in_force_is_said() -> None:
    """As the first time. A deletion says nothing of the entries that stay."""
    for old, said in ((OLD, f"no: {SEEN}"), (NEW, YES)):
        change = Change(old, OLD)
        change.agent.left = (SEEN,)
        change.agent.settled.callback(None)
        assert [said] == change.found


def test_the_header_is_bounded() -> None:
    """Names may be long."""
    change = Change()
    change.agent.left = (NotInForce("ntp", "unresolved", "x" * 5000),)
    change.agent.settled.callback(None)
    assert [MAX_TEXT] == [len(str(text)) for text in change.found]


@pytest.mark.parametrize("error", [KernelError("no room"), StoreError("no room")])
def test_a_refusal_says_that_the_change_is_stored(error: Exception) -> None:
    """And what is not in force now."""
    change = Change()
    change.agent.left = (SEEN,)
    change.agent.settled.errback(error)
    said = change.refusal()
    assert "is stored, but not in force: no room." in said
    assert "now not in force: dns: duplicate: taken" in said


def test_a_kernel_that_takes_too_long_is_an_error_in_time() -> None:
    """The work goes on."""
    change = Change()
    change.clock.advance(DEADLINE)
    assert "not in force: not done within 5 s" in change.refusal()
    assert not change.agent.settled.called


@pytest.mark.parametrize("odd", [{}, {PROPERTY: 7}, {PROPERTY: None}])
def test_any_stored_value_will_do(odd: Any) -> None:
    """An older store may hold what is refused today."""
    change = Change(odd, odd)
    change.agent.settled.callback(None)
    assert [YES] == change.found
