"""Promises of vagent.web.caller: which users are operators."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from vagent.web.caller import (
    MAX_REMEMBERED,
    REMEMBERED,
    Operators,
    SiteCaller,
    group_id,
    groups_of,
)


class System:
    """A host with the group 7, and user 5 in it; counts what it is asked."""

    def __init__(self) -> None:
        self.now = 0.0
        self.group: int | None = 7
        self.members = {5: frozenset({4, 7}), 6: frozenset({4})}
        self.asked: list[int] = []
        self.operators = Operators(
            group=lambda: self.group, groups=self.groups, clock=lambda: self.now
        )

    def groups(self, uid: int) -> frozenset[int]:
        self.asked.append(uid)
        return self.members.get(uid, frozenset())


def test_root_and_members() -> None:
    """And nobody else; unknown users have no groups."""
    system = System()
    has = system.operators.has
    assert [True, True, False, False] == [has(uid) for uid in (0, 5, 6, 65534)]
    assert [5, 6, 65534] == system.asked


def test_a_host_without_the_group() -> None:
    """Root alone, and a group of no number is nobody's."""
    system = System()
    system.group = None
    assert [True, False] == [system.operators.has(uid) for uid in (0, 5)]


def test_the_system_is_asked_seldom() -> None:
    """What it says counts for REMEMBERED seconds, no less and no more."""
    system = System()
    assert not system.operators.has(6)
    system.members[6] = frozenset({7})
    system.now = REMEMBERED - 0.1
    assert not system.operators.has(6)
    assert "<Operators 1 users known>" == repr(system.operators)
    system.now = REMEMBERED
    assert system.operators.has(6)
    assert [6, 6] == system.asked


def test_many_users() -> None:
    """What is remembered is bounded."""
    system = System()
    for uid in range(1, MAX_REMEMBERED + 1):
        system.operators.has(uid)
    assert f"<Operators {MAX_REMEMBERED} users known>" == repr(system.operators)
    system.operators.has(MAX_REMEMBERED + 1)
    assert "<Operators 1 users known>" == repr(system.operators)


def test_the_groups_of_this_host() -> None:
    """As the system knows them; what it does not know is nothing."""
    assert grp.getgrnam("root").gr_gid == group_id("root")
    assert None is group_id("no such group")
    root = pwd.getpwuid(0)
    assert frozenset(os.getgrouplist("root", root.pw_gid)) == groups_of(0)
    assert frozenset() == groups_of(2**31)


@pytest.mark.parametrize(
    ("caller", "said"),
    [
        (SiteCaller("socket", 5, 6), "uid 5 gid 6 over socket"),
        (SiteCaller("TCP", 0, address="127.0.0.1"), "uid 0 over TCP from 127.0.0.1"),
        (SiteCaller("TCP", address="::1"), "unknown user over TCP from ::1"),
    ],
)
def test_how_a_caller_is_told(caller: SiteCaller, said: str) -> None:
    """Who, by which way, from where."""
    assert said == str(caller)
