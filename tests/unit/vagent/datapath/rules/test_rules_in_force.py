"""Somebody else's transaction is a reason to count; our own ones are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from vagent.datapath.names import Names
from vagent.datapath.rules.events import RulesLost, RulesUnread
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.in_force import InForce, WantedTable
from vagent.datapath.rules.table_counts import wanted_counts
from vagent.datapath.rules.wanted_elements import wanted_elements
from vagent.datapath.state import Attachment, Services
from vagent.errors import KernelError
from vagent.kernel.nf_tables_dump import Elements, TableCounts
from vagent.observe.event import Event

ALL = Features(nft_queue=True, ip6_tables=True, ipv6=True)


class Kernel:
    """Tables as a test sets them; `meanwhile` others change theirs while it lists."""

    def __init__(self) -> None:
        self.generation = 7
        self.meanwhile = 0
        self.held = TableCounts()
        self.readings = 0
        self.compared: Elements = {}
        self.refusal = ""

    def nft_generation(self) -> int:
        if self.refusal:
            raise KernelError(self.refusal)
        return self.generation

    async def table_counts(
        self,
        table: str,
        counted: frozenset[object],
        wanted: Callable[[], Elements],
    ) -> TableCounts:
        self.compared = wanted()
        assert "vagent" == table
        assert counted, "elements are not looked at"
        self.readings += 1
        if self.meanwhile:
            self.meanwhile -= 1
            self.generation += 1
        return self.held


class Looking:
    def __init__(self, names: Names, alice: Attachment) -> None:
        self.kernel = Kernel()
        self.events: list[Event] = []
        self.commits = 0
        self.names = names
        self.services = Services.of((), names, None)
        self.ports = [alice]
        self.in_force = InForce(
            "vagent", system=cast("Any", self.kernel), emit=self.events.append
        )
        self.kernel.held = self.wanted = wanted_counts(
            names, self.services, self.ports, features=ALL
        )

    def look(self) -> str:
        found: list[str] = []
        looking = self.in_force.look(
            lambda: WantedTable(self.wanted, self.elements), ours=self.commits
        )
        Deferred.fromCoroutine(looking).addCallback(found.append)
        return found[0]

    def elements(self) -> Elements:
        return wanted_elements(self.names, self.services, self.ports, ipv6=True)

    def take(self, family: int, chain: str) -> None:
        """Somebody takes a chain away."""
        self.kernel.generation += 1
        rules = dict(self.kernel.held.rules)
        del rules[family, chain]
        self.kernel.held = replace(self.kernel.held, rules=rules)


@pytest.fixture
def looking(names: Names, alice: Attachment) -> Looking:
    """With one port, and everything there; nobody has looked yet."""
    return Looking(names, alice)


def test_the_first_look_counts(looking: Looking) -> None:
    """Whatever was there before the start; the next ones ask for the generation."""
    assert ["", "", ""] == [looking.look() for _ in range(3)]
    assert 1 == looking.kernel.readings


def test_what_is_wanted_is_worked_out_only_to_count(looking: Looking) -> None:
    """A look that finds the generation unchanged costs one question."""
    looking.look()

    def never() -> Any:
        raise AssertionError

    looking.kernel.generation += 1
    looking.commits += 1
    work = looking.in_force.look(never, ours=looking.commits)
    found: list[str] = []
    Deferred.fromCoroutine(work).addCallback(found.append)
    assert ([""], "") == (found, looking.in_force.unread)


def test_our_own_transactions_are_no_reason_to_count(looking: Looking) -> None:
    """Ports come and go all day; only one more than that is somebody else's."""
    looking.look()
    for _ in range(3):
        looking.commits += 1
        looking.kernel.generation += 1
    looking.look()
    assert 1 == looking.kernel.readings
    looking.kernel.generation += 1
    looking.look()
    assert 2 == looking.kernel.readings


def test_elements_are_compared_with_what_was_written(looking: Looking) -> None:
    """Those of services and ports."""
    looking.look()
    wanted = looking.elements()
    assert (wanted, True) == (looking.kernel.compared, (2, "endpoints") in wanted)


def test_the_generation_begins_again(looking: Looking) -> None:
    """At 32 bits."""
    looking.kernel.generation = (1 << 32) - 1
    looking.look()
    looking.commits += 1
    looking.kernel.generation = 0
    looking.look()
    assert 1 == looking.kernel.readings


def test_what_was_committed_before_the_first_look_is_counted(looking: Looking) -> None:
    """Nothing is known before."""
    looking.commits += 1
    looking.look()
    assert 1 == looking.kernel.readings


def test_what_is_missing_is_told(looking: Looking) -> None:
    """Once a look; it is up to whoever asked to put it back."""
    looking.look()
    looking.take(2, "trap")
    assert "table ip vagent: chain trap is gone" == looking.look()
    assert [RulesLost("table ip vagent: chain trap is gone")] == looking.events


def test_what_was_read_over_a_change_is_read_again(looking: Looking) -> None:
    """Others change their tables while ours are listed: lists may have gaps then."""
    looking.take(2, "trap")
    looking.kernel.meanwhile = 2
    assert "trap" in looking.look()
    assert 3 == looking.kernel.readings


def test_endless_changes_of_others_are_told(looking: Looking) -> None:
    """What seems to be missing then may be there, so nothing is put back yet; nor is it
    said that all is well. The next look tries again.
    """
    looking.take(2, "trap")
    looking.kernel.meanwhile = 3
    assert ("", 3) == (looking.look(), looking.kernel.readings)
    assert "without a pause; what seems to be gone: table" in looking.in_force.unread
    assert "trap" in looking.look()
    assert [RulesUnread, RulesLost] == [type(event) for event in looking.events]


def test_endless_changes_of_others_hide_nothing_that_is_there(looking: Looking) -> None:
    """A list may have gaps over them, but says nothing that is not."""
    looking.kernel.meanwhile = 3
    assert ("", "") == (looking.look(), looking.in_force.unread)
    looking.look()
    assert 4 == looking.kernel.readings


def test_a_kernel_that_does_not_tell_is_told_once(looking: Looking) -> None:
    """Not each second; `unread` says why until it tells again."""
    looking.kernel.refusal = "no buffer space"
    assert ["", ""] == [looking.look(), looking.look()]
    assert [RulesUnread("no buffer space")] == looking.events
    assert looking.in_force.unread.endswith("rules it holds: no buffer space")
    looking.kernel.refusal = ""
    looking.look()
    assert "" == looking.in_force.unread
