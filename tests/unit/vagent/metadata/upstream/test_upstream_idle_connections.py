"""Idle connections: whose request each of them may carry, and which one is taken."""

from __future__ import annotations

from typing import Any

import pytest

from vagent.metadata.limits import QUIET_SECONDS
from vagent.metadata.upstream.idle_connections import IdleConnections

ONE, OTHER = b"one", b"other"


class Connection:
    """An idle connection as a test wants it."""

    def __init__(
        self, guest: bytes | None = ONE, *, bound: bool = False, rested: bool = True
    ) -> None:
        self.guest = guest
        self.is_bound = bound
        self.has_rested = rested
        self.has_unread = False
        self.is_open = True
        self.idle_since = 1.0
        self.end = ""

    def abort(self) -> None:
        self.end, self.is_open = "aborted", False

    def close(self) -> None:
        self.end, self.is_open = "closed", False


def idle(*connections: Connection) -> Any:
    """Its connections may be those of this test."""
    made: Any = IdleConnections()
    for one in connections:
        made.add(one)
    return made


@pytest.mark.parametrize("guest", [ONE, None])
def test_the_one_that_was_used_last_is_used_again(guest: bytes | None) -> None:
    """So that those which are not needed become old enough to be closed."""
    first, last, closed = (Connection(guest) for _ in range(3))
    closed.is_open = False
    found = idle(first, last, closed)
    assert [last, first, None] == [found.take(ONE) for _ in range(3)]
    assert 0 == len(found)


@pytest.mark.parametrize(
    ("connection", "same", "other"),
    [
        (Connection(None), True, True),
        (Connection(rested=True), True, True),
        (Connection(rested=False), True, False),
        (Connection(bound=True, rested=True), True, False),
        (Connection(bound=True, rested=False), True, False),
    ],
)
def test_who_may_have_it(connection: Connection, *, same: bool, other: bool) -> None:
    """The guest that it served at once; another one when it is quiet and not bound."""
    assert other is (idle(connection).take(OTHER) is connection)
    assert other is (idle(connection).take_quiet() is connection)
    assert same is (idle(connection).take(ONE) is connection)


def test_one_that_was_taken_is_there_no_more() -> None:
    """Neither for its guest nor for others."""
    found = idle(Connection(rested=False), Connection(bound=True), Connection(None))
    for guest in (ONE, ONE, OTHER):
        assert found.take(guest) is not None
    assert (0, 0, None) == (len(found), found.unbound, found.take_quiet())


@pytest.mark.parametrize("guest", [ONE, OTHER])
def test_one_that_has_something_to_read_is_ended(guest: bytes) -> None:
    """Whoever asks: bytes that nobody asked for are nobody's."""
    connection, good = Connection(), Connection(None)
    connection.has_unread = True
    found = idle(good, connection)
    assert good is found.take(guest)
    assert ("aborted", "") == (connection.end, good.end)
    assert 0 == len(found)


def test_a_guest_in_a_hurry_costs_no_look() -> None:
    """What was left of its own response can only reach itself."""
    connection = Connection(rested=False)
    connection.has_unread = True
    assert connection is idle(connection).take(ONE)
    bound = Connection(bound=True)
    bound.has_unread = True
    assert bound is idle(bound).take(ONE)


def test_it_becomes_quiet_with_time() -> None:
    """Those that have been idle longest first; later ones are not looked at before."""
    first, second = Connection(rested=False), Connection(rested=False)
    first.idle_since, second.idle_since = 1.0, 2.0
    found = idle(first, second)
    assert (1.0 + QUIET_SECONDS, 2) == (found.next_quiet, found.unbound)
    assert found.take_quiet() is None
    first.has_rested = True
    assert first is found.take_quiet()
    assert (2.0 + QUIET_SECONDS, 1) == (found.next_quiet, found.unbound)
    second.has_rested = True
    assert second is found.take_quiet()
    assert (None, 0) == (found.next_quiet, found.unbound)


def test_a_spare_one_is_bound_if_possible() -> None:
    """Others are of use to more guests."""
    quiet, bound = Connection(), Connection(OTHER, bound=True)
    found = idle(quiet, bound)
    assert bound is found.take_spare(bound=False)
    assert found.take_spare(bound=True) is None
    assert quiet is found.take_spare(bound=False)
    assert found.take_spare(bound=False) is None
    assert (0, 0) == (len(found), found.unbound)


def test_one_that_has_closed_is_forgotten() -> None:
    """Also when told twice; those of the same guest stay."""
    gone, stays = Connection(rested=False), Connection(rested=False)
    found = idle(gone, stays)
    for _ in range(2):
        found.discard(gone)
    assert (1, 1) == (len(found), found.unbound)
    assert stays is found.take(ONE)
    found.discard(stays)


def test_all_are_closed() -> None:
    """In good order."""
    every = [Connection(), Connection(None), Connection(bound=True)]
    found = idle(*every)
    found.close()
    assert ["closed"] * 3 == [one.end for one in every]
    assert (0, 0) == (len(found), found.unbound)


@pytest.mark.parametrize("bound", [False, True])
def test_nothing_is_kept_of_a_guest_without_connections(*, bound: bool) -> None:
    """Once the last one that it had is closed."""
    taken = Connection(bound=bound)
    found = idle(taken)
    assert taken is found.take(ONE)
    found.discard(taken)
    assert {} == found._of_guest
