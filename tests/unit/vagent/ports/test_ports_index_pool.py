"""Promises of vagent.ports.index_pool: unique, in range, longest free first."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from vagent.errors import LimitError
from vagent.ports.index_pool import IndexPool

DEFAULT = IPv4Network("169.254.64.0/18")
SMALL = IPv4Network("169.254.64.0/29")


def test_guests_start_at_two() -> None:
    """0 is the network, 1 the agent."""
    pool = IndexPool(DEFAULT)
    assert [pool.take() for _ in range(3)] == [2, 3, 4]
    assert pool.address_of(11) == IPv4Address("169.254.64.11")


def test_every_guest_address_is_given_once_and_then_no_more() -> None:
    """n-1, n, n+1 of the default range, and the message names it."""
    pool = IndexPool(DEFAULT)
    taken = [pool.take() for _ in range(pool.capacity)]
    assert (min(taken), max(taken), len(set(taken))) == (2, 16382, 16381)
    with pytest.raises(LimitError) as caught:
        pool.take()
    assert str(caught.value) == "identity range 169.254.64.0/18 is full (16381 ports)"
    pool.give_back(7)
    assert pool.take() == 7


def test_a_freed_number_waits_until_all_others_were_given() -> None:
    """A new guest does not meet what conntrack remembers of the last one."""
    pool = IndexPool(SMALL)
    first, second = pool.take(), pool.take()
    pool.give_back(second)
    pool.give_back(first)
    assert [pool.take() for _ in range(5)] == [4, 5, 6, second, first]


def test_numbers_of_the_journal_are_held() -> None:
    """Identities survive a restart; foreign, special and taken numbers do not."""
    pool = IndexPool(SMALL)
    taken = pool.take()
    held = pool.hold([taken, 4, 0, 1, 7, 8, -1, 10**9])
    assert held == {4}
    assert [pool.take() for _ in range(3)] == [5, 6, 3]


def test_after_a_restart_numbering_goes_on_behind_the_highest() -> None:
    """What lies below may have been freed just before."""
    pool = IndexPool(SMALL)
    pool.hold([3, 5])
    assert [pool.take() for _ in range(3)] == [6, 2, 4]


@pytest.mark.parametrize(("prefix", "capacity"), [(29, 5), (30, 1)])
def test_small_ranges(prefix: int, capacity: int) -> None:
    """A /30 has room for one guest."""
    pool = IndexPool(IPv4Network(f"169.254.64.0/{prefix}"))
    assert pool.capacity == capacity
    for _ in range(capacity):
        pool.take()
    with pytest.raises(LimitError):
        pool.take()


@pytest.mark.parametrize("prefix", [31, 32])
def test_a_range_without_room_is_refused(prefix: int) -> None:
    """A /31 has none."""
    with pytest.raises(LimitError, match="no room"):
        IndexPool(IPv4Network(f"169.254.64.0/{prefix}"))


def test_repr_shows_how_full_it_is() -> None:
    """For logs and failing tests."""
    pool = IndexPool(SMALL)
    pool.take()
    assert repr(pool) == "<IndexPool 169.254.64.0/29 1/5>"


def test_the_first_and_the_last_index_can_be_held() -> None:
    """The ends of the range are of it."""
    assert {2, 6} == IndexPool(SMALL).hold([1, 2, 6, 7])
