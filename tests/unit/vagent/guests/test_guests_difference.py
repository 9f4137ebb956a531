"""Promises of vagent.guests.difference: the watcher's ports follow, others' stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vagent.guests import nova_domains as made
from vagent.guests.difference import difference
from vagent.guests.domain import Domain, Interface
from vagent.guests.domain_xml import read_domain
from vagent.guests.wanted import WantedPort, wanted_ports
from vagent.ports.port import PortOwner

[WANTED] = wanted_ports([read_domain(made.PLAIN)], serve_nova=False).ports
THEIRS = [owner for owner in PortOwner if owner is not PortOwner.WATCHER]


def test_a_new_port_is_registered_and_one_that_is_there_is_not() -> None:
    """Nothing is sent for what is right."""
    assert (WANTED,) == difference([WANTED], []).register
    assert difference([WANTED], [WANTED.port]) == difference([], [])


def test_a_port_that_moved_is_registered_again() -> None:
    """In place: it is not removed."""
    moved = replace(WANTED.port, tap="vnet9")
    found = difference([WANTED], [moved])
    assert ((WANTED,), ()) == (found.register, found.remove)


def test_a_port_of_a_domain_that_went_is_removed() -> None:
    """Also if nobody watched when it went."""
    assert (WANTED.port.id,) == difference([], [WANTED.port]).remove


@pytest.mark.parametrize("owner", THEIRS)
def test_ports_of_others_stay(owner: PortOwner) -> None:
    """They are neither changed nor removed."""
    theirs = replace(WANTED.port, owner=owner, tap="tap9")
    assert difference([], [theirs]) == difference([], [])
    found = difference([WANTED], [theirs])
    assert ((), ()) == (found.register, found.remove)
    assert (f"port {theirs.id} belongs to {owner}",) == found.others


@pytest.mark.parametrize("owner", THEIRS)
def test_a_tap_with_somebody_elses_port_is_left_alone(owner: PortOwner) -> None:
    """And what we had there goes, so that both do not stand in each other's way."""
    theirs = replace(WANTED.port, owner=owner, id=made.PORT2)
    found = difference([WANTED], [WANTED.port, theirs])
    assert ((), (WANTED.port.id,)) == (found.register, found.remove)
    assert (f"tap vnet0 has port {made.PORT2} of {owner}",) == found.others


GUESTS = st.integers(0, 5)


def port_of(guest: int, tap: int) -> WantedPort:
    """The port of one of six guests at one of six taps."""
    interface = Interface(f"52:54:00:00:00:0{guest}", f"vnet{tap}")
    domain = Domain(
        f"00000000-0000-4000-8000-00000000000{guest + 1}", "d", (interface,)
    )
    return wanted_ports([domain], serve_nova=False).ports[0]


@given(
    st.permutations(range(6)),
    st.sets(GUESTS),
    st.dictionaries(GUESTS, st.tuples(GUESTS, st.sampled_from(PortOwner))),
)
def test_afterwards_each_port_is_where_its_guest_is(
    taps: list[int], there: set[int], before: dict[int, tuple[int, PortOwner]]
) -> None:
    """Whatever was registered, others' ports are as they were, ours as the domains."""
    wanted = [port_of(guest, taps[guest]) for guest in there]
    found = [
        replace(port_of(guest, tap).port, owner=owner)
        for guest, (tap, owner) in before.items()
    ]
    change = difference(wanted, found)
    after = {port.id: port for port in found if port.id not in change.remove}
    after |= {each.port.id: each.port for each in change.register}
    others = [port for port in found if port.owner is not PortOwner.WATCHER]
    assert all(after[port.id] == port for port in others)
    ours = {i: p for i, p in after.items() if p.owner is PortOwner.WATCHER}
    assert all(ours[i] in [w.port for w in wanted] for i in ours)
    assert len(ours) + len(change.others) == len(wanted)
