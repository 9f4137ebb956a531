"""Promises of vagent.ports.identity: unique, in range, longest free first."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from vagent.errors import LimitError
from vagent.ports.identity import IdentityRange

DEFAULT = IPv4Network("169.254.64.0/18")
SMALL = IPv4Network("169.254.64.0/29")


def test_guests_start_at_two() -> None:
    """0 is the network, 1 the agent."""
    identities = IdentityRange(DEFAULT)
    assert [identities.take() for _ in range(3)] == [2, 3, 4]
    assert identities.address_of(11) == IPv4Address("169.254.64.11")


def test_every_guest_address_is_given_once_and_then_no_more() -> None:
    """n-1, n, n+1 of the default range, and the message names it."""
    identities = IdentityRange(DEFAULT)
    taken = [identities.take() for _ in range(identities.capacity)]
    assert (min(taken), max(taken), len(set(taken))) == (2, 16382, 16381)
    with pytest.raises(LimitError) as caught:
        identities.take()
    assert str(caught.value) == "identity range 169.254.64.0/18 is full (16381 ports)"
    identities.give_back(7)
    assert identities.take() == 7


def test_a_freed_number_waits_until_all_others_were_given() -> None:
    """A new guest does not meet what conntrack remembers of the last one."""
    identities = IdentityRange(SMALL)
    first, second = identities.take(), identities.take()
    identities.give_back(second)
    identities.give_back(first)
    assert [identities.take() for _ in range(5)] == [4, 5, 6, second, first]


def test_numbers_of_the_journal_are_held() -> None:
    """Identities survive a restart; foreign, special and taken numbers do not."""
    identities = IdentityRange(SMALL)
    taken = identities.take()
    held = identities.hold([taken, 4, 0, 1, 7, 8, -1, 10**9])
    assert held == {4}
    assert [identities.take() for _ in range(3)] == [5, 6, 3]


def test_the_first_number_can_be_held() -> None:
    """The ends of the range are of it."""
    assert {2, 6} == IdentityRange(SMALL).hold([1, 2, 6, 7])


def test_after_a_restart_numbering_goes_on_behind_the_highest() -> None:
    """What lies below may have been freed just before."""
    identities = IdentityRange(SMALL)
    identities.hold([3, 5])
    assert [identities.take() for _ in range(3)] == [6, 2, 4]


@pytest.mark.parametrize(
    ("address", "index"),
    [
        ("169.254.63.255", None),
        ("169.254.64.0", None),
        ("169.254.64.1", None),
        ("169.254.64.2", 2),
        ("169.254.127.254", 16382),
        ("169.254.127.255", None),
        ("169.254.128.2", None),
    ],
)
def test_which_addresses_are_guests(address: str, index: int | None) -> None:
    """Neither the network, nor the agent, nor broadcast, nor anything outside."""
    assert IdentityRange(DEFAULT).index_of(IPv4Address(address)) == index


@pytest.mark.parametrize(("prefix", "capacity"), [(29, 5), (30, 1)])
def test_small_ranges(prefix: int, capacity: int) -> None:
    """A /30 has room for one guest."""
    identities = IdentityRange(IPv4Network(f"169.254.64.0/{prefix}"))
    assert identities.capacity == capacity
    for _ in range(capacity):
        identities.take()
    with pytest.raises(LimitError):
        identities.take()


@pytest.mark.parametrize("prefix", [31, 32])
def test_a_range_without_room_is_refused(prefix: int) -> None:
    """A /31 has none."""
    with pytest.raises(LimitError, match="no room"):
        IdentityRange(IPv4Network(f"169.254.64.0/{prefix}"))


def test_repr_shows_how_full_it_is() -> None:
    """For logs and failing tests."""
    identities = IdentityRange(SMALL)
    identities.take()
    assert repr(identities) == "<IdentityRange 169.254.64.0/29 1/5>"
