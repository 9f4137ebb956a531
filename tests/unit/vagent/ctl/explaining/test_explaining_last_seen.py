"""Which sighting of a guest counts: the latest that is its own."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from vagent.ctl.explaining.last_seen import last_seen
from vagent.ctl.explaining.observed import ShownPort
from vagent.ctl.explaining.trial import LastSeen
from vagent.datapath.tap.entries import Way
from vagent.datapath.tap.layout import (
    ANNOUNCED,
    SERVICE_TAG,
    Address,
    DropReason,
    Guest,
    GuestPlace,
    Refused,
)
from vagent.datapath.tap.probe import SeenAtTaps

MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:99"
PORT = ShownPort(
    "p1", "alice", "i1", "t1", "n1", "tap1", MAC, "10.0.0.5", "169.254.64.2", "Active"
)
TAPS = {7: "tap1", 8: "tap2"}
NOW = 60_000_000_000
SECOND = 1_000_000_000
OTHER = IPv4Address("10.0.0.66")


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def served(
    ago: int, address: Address | None = OTHER, *, ifindex: int = 7, vlan: int = 0
) -> tuple[Way, Guest]:
    last = NOW - ago * SECOND if ago else 0
    guest = Guest(2, packets=1, last=last, last_address=address)
    return Way(ifindex, vlan, octets(MAC)), guest


def refused(
    ago: int,
    *,
    mac: str = MAC,
    ifindex: int = 7,
    vlan: int = 0,
    address: Address | None = OTHER,
    reason: int = DropReason.SPOOFED,
) -> tuple[GuestPlace, Refused]:
    place = GuestPlace(ifindex, vlan, octets(mac), address, reason)
    return place, Refused(1, NOW - ago * SECOND)


def seen(
    *guests: tuple[Way, Guest],
    told: tuple[tuple[GuestPlace, Refused], ...] = (),
    port: ShownPort = PORT,
    others: tuple[ShownPort, ...] = (),
) -> LastSeen:
    return last_seen(port, (port, *others), TAPS, SeenAtTaps(guests, told), NOW)


REGISTERED = LastSeen("tap1", 0, False, MAC, IPv4Address("10.0.0.5"))


def test_a_guest_that_was_never_seen_is_as_registered() -> None:
    """With the VLAN of its port."""
    assert seen() == REGISTERED
    assert seen(served(0)) == REGISTERED
    tagged = replace(PORT, vlan=7)
    assert seen(port=tagged) == replace(REGISTERED, vlan=7)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([served(3)], (MAC, OTHER, 3.0)),
        ([served(3, IPv6Address("2001:db8::5"))], (MAC, REGISTERED.address, 3.0)),
        ([served(3, ifindex=8)], (MAC, REGISTERED.address, None)),
        ([served(3, ifindex=9)], (MAC, REGISTERED.address, None)),
        ([served(3, vlan=7)], (MAC, REGISTERED.address, None)),
    ],
)
def test_what_was_served(
    found: list[tuple[Way, Guest]], expected: tuple[str, Address, float | None]
) -> None:
    """At its own tap, VLAN and MAC address."""
    one = seen(*found)
    assert (one.mac, one.address, one.ago) == expected


@pytest.mark.parametrize(
    "told",
    [
        refused(3),
        refused(3, mac=OTHER_MAC),
        refused(3, vlan=7),
        refused(3, ifindex=8),
        refused(3, reason=DropReason.UNLEARNED),
        refused(3, reason=ANNOUNCED),
    ],
)
def test_what_was_refused(told: tuple[GuestPlace, Refused]) -> None:
    """Whatever it was, if it came after what was served; not if it came before."""
    place, _ = told
    one = seen(served(4, REGISTERED.address), told=(told,))
    sender = (one.tap, one.vlan, one.mac, one.address, one.ago)
    mac = place.mac.hex(":")
    assert sender == (TAPS[place.ifindex], place.vlan, mac, place.address, 3.0)
    assert seen(served(2, REGISTERED.address), told=(told,)).ago == 2.0


def test_a_tag_of_another_type_is_told_apart() -> None:
    one = seen(told=(refused(3, vlan=SERVICE_TAG | 7),))
    assert (one.vlan, one.is_service_tag) == (7, True)


@pytest.mark.parametrize(
    "told",
    [
        refused(3, mac=OTHER_MAC, ifindex=8),
        refused(3, ifindex=9),
        refused(3, reason=DropReason.CLAIMED),
        refused(3, reason=DropReason.STACKED_TAGS),
        refused(3, mac="03:00:00:00:00:01"),
        refused(3, address=None),
        refused(3, address=IPv6Address("2001:db8::5")),
        refused(3, address=IPv4Address("0.0.0.0")),
        refused(3, address=IPv4Address("127.0.0.1")),
        refused(3, address=IPv4Address("224.0.0.1")),
        refused(3, address=IPv4Address("255.255.255.255")),
    ],
)
def test_what_tells_nothing(told: tuple[GuestPlace, Refused]) -> None:
    """What is not the guest's, and what no guest can have."""
    assert seen(told=(told,)) == REGISTERED


def test_what_may_be_another_ports() -> None:
    """Another MAC address at a tap of several ports, and the guest's own at a tap where
    another port has it.
    """
    beside = replace(PORT, id="p2", mac="02:00:00:00:00:02", vlan=7)
    strange = refused(3, mac=OTHER_MAC)
    assert seen(told=(strange,), others=(beside,)) == REGISTERED
    assert seen(told=(refused(3),), others=(beside,)).address == OTHER
    twin = replace(PORT, id="p2", tap="tap2")
    assert seen(told=(refused(3, ifindex=8),), others=(twin,)) == REGISTERED
    assert seen(told=(refused(3),), others=(twin,)).address == OTHER
