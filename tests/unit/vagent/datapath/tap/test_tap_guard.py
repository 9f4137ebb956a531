"""The taps serve what is wanted, and no more, whatever was there before."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from tests.unit.vagent.datapath.tap.fake_tap_kernel import FakeTapKernel
from vagent.datapath.state import Attachment, Tag
from vagent.datapath.tap import layout
from vagent.datapath.tap.entries import wanted_maps
from vagent.datapath.tap.guard import ALL_AT_ONCE, LOOKS, TapGuard

SERVICES = (IPv4Address("169.254.169.254"), IPv6Address("fd00:ec2::254"))


@pytest.fixture
def kernel() -> FakeTapKernel:
    """Without anything."""
    return FakeTapKernel()


@pytest.fixture
def guard(kernel: FakeTapKernel) -> TapGuard:
    """Of that kernel, with services."""
    made = TapGuard(kernel)
    made.replace(SERVICES, ())
    kernel.log.clear()
    return made


def test_what_can_be_answered_is_let_in(
    guard: TapGuard, kernel: FakeTapKernel, alice: Attachment
) -> None:
    """The way back comes first and goes last, the program comes to a whole port."""
    guard.add(alice)
    assert [
        "put tap",
        "put reply",
        "put guest",
        "put identity",
        "attach 11",
    ] == kernel.log
    kernel.log.clear()
    guard.take_away(alice)
    assert [
        "erase identity",
        "erase reply",
        "erase guest",
        "detach 11",
        "erase tap",
    ] == (kernel.log)
    assert wanted_maps(SERVICES, ()) == kernel.maps


def test_one_by_one_is_the_same_as_all_at_once(
    guard: TapGuard, kernel: FakeTapKernel, alice: Attachment, bob: Attachment
) -> None:
    """Of every kind."""
    kinds = (
        replace(alice, takes_link_local=True, learns=True),
        replace(alice, index=9, address=IPv4Address("10.0.0.9"), port=2),
        replace(bob, tag=Tag(100, 101), address6=IPv6Address("2001:db8::5"), mtu=9000),
    )
    for each in kinds:
        guard.add(each)
    assert wanted_maps(SERVICES, kinds) == kernel.maps
    assert {11, 12} == kernel.taps


def test_two_addresses_of_a_tap_share_what_is_the_taps(
    guard: TapGuard, kernel: FakeTapKernel, alice: Attachment
) -> None:
    """The program stays until the last of them goes, and the guest is the other's."""
    second = replace(alice, index=9, address=IPv4Address("10.0.0.9"))
    guard.add(alice)
    guard.add(second)
    assert 1 == kernel.log.count("attach 11")
    guard.take_away(alice)
    assert {11} == kernel.taps
    (guest,) = kernel.maps["guest"].values()
    assert 9 == layout.decode_guest(guest).index
    guard.take_away(second)
    assert set() == kernel.taps


def test_what_an_earlier_agent_left_is_adopted(
    kernel: FakeTapKernel, alice: Attachment, bob: Attachment
) -> None:
    """Nothing that is right is touched; what is not wanted goes."""
    before = TapGuard(kernel)
    before.replace(SERVICES, (alice, bob))
    kernel.log.clear()
    after = TapGuard(kernel)
    after.replace(SERVICES[:1], (alice,))
    erased = [each for each in kernel.log if "erase" in each]
    assert ["service", "identity", "guest", "reply", "tap"] == [
        each.split()[1] for each in erased
    ]
    assert not any("put" in each for each in kernel.log)
    assert {11} == kernel.taps
    assert "forget_former" == kernel.log[-1]


def test_counters_outlive_a_change(
    guard: TapGuard, kernel: FakeTapKernel, alice: Attachment
) -> None:
    """They are the kernel's."""
    guard.add(alice)
    (key,) = kernel.maps["guest"]
    counted = replace(layout.decode_guest(kernel.maps["guest"][key]), packets=7)
    kernel.maps["guest"][key] = layout.encode_guest(counted)
    guard.add(replace(alice, learns=True))
    found = layout.decode_guest(kernel.maps["guest"][key])
    assert (7, layout.GuestFlag.LEARNS) == (found.packets, found.flags)
    assert "" == guard.missing()


def test_services_come_and_go(guard: TapGuard, kernel: FakeTapKernel) -> None:
    """What stays is not touched."""
    guard.serve((SERVICES[1], IPv4Address("169.254.1.53")))
    assert ["erase service", "put service"] == kernel.log
    assert {layout.encode_address(IPv4Address("169.254.1.53"))} < kernel.maps[
        "service"
    ].keys()


def test_what_somebody_took_away_is_named(
    guard: TapGuard, kernel: FakeTapKernel, alice: Attachment
) -> None:
    """Programs, and elements that are missing, changed or too many."""
    guard.add(alice)
    assert "" == guard.missing()
    kernel.taps.clear()
    assert "the program at interface 11 is gone" == guard.missing()
    kernel.taps.add(11)
    kernel.guest_side = False
    assert "guests' side of the veth pair" in guard.missing()
    guard.replace(SERVICES, (alice,))
    assert "" == guard.missing()
    key = next(iter(kernel.maps["identity"]))
    for value in (None, b"x" * layout.IDENTITY_SIZE):
        if value is None:
            kept = kernel.maps["identity"].pop(key)
        else:
            kernel.maps["identity"][key] = value
        assert "map identity has 1 elements" in guard.missing()
    kernel.maps["identity"][key] = kept
    kernel.maps["service"][bytes(16)] = b"\1\0\0\0"
    assert "map service has 1 elements" in guard.missing()


def test_much_that_is_missing_is_told_in_short(
    guard: TapGuard, kernel: FakeTapKernel, alice: Attachment
) -> None:
    """Three are named."""
    for index in range(5):
        guard.add(replace(alice, index=20 + index, ifindex=20 + index))
    kernel.taps.clear()
    assert guard.missing().endswith("interface 22 is gone; 2 more")


def test_many_taps_are_looked_at_in_turn(
    guard: TapGuard, kernel: FakeTapKernel, alice: Attachment
) -> None:
    """Each of them in LOOKS looks."""
    taps = range(1000, 1000 + ALL_AT_ONCE + 1)
    for number in taps:
        guard.add(replace(alice, index=number, ifindex=number))
    for lost in (taps[0], taps[-1]):
        kernel.taps.discard(lost)
        found = [guard.missing() for _ in range(LOOKS)]
        assert 1 == sum(f"interface {lost} is gone" in each for each in found)
        kernel.taps.add(lost)
    del kernel.maps["reply"][layout.encode_number(taps[0])]
    assert 1 == sum("map reply" in guard.missing() for _ in range(LOOKS))
