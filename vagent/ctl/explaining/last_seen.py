"""What a port's guest was last seen to use at the taps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address

from vagent.ctl.explaining.observed import ShownPort
from vagent.ctl.explaining.trial import LastSeen
from vagent.datapath.tap.entries import Way
from vagent.datapath.tap.layout import (
    ANNOUNCED,
    SERVICE_TAG,
    DropReason,
    Guest,
    GuestPlace,
    Refused,
)
from vagent.datapath.tap.probe import SeenAtTaps

_TELLING = (DropReason.SPOOFED, DropReason.UNLEARNED, ANNOUNCED)
"""Refusals that tell what a guest uses; in others it claims what is not its own."""
_MULTICAST = 1
"""Bit of a MAC address's first byte."""


def last_seen(
    port: ShownPort,
    ports: Sequence[ShownPort],
    taps: Mapping[int, str],
    seen: SeenAtTaps,
    now: int,
) -> LastSeen:
    """The latest of what was served and what was refused, else what is registered.
    `ports` are all of this host, `taps` its interfaces; `now` is the kernel's monotonic
    clock in nanoseconds. A frame with the guest's MAC address is its own also at a tap
    where nobody has that; one with another MAC address, only at its tap if no other
    port is there.
    """
    registered = LastSeen(
        port.tap, port.vlan, False, port.mac, IPv4Address(port.address)
    )
    found = [
        *_served(registered, taps, seen.guests),
        *_refused(registered, ports, taps, seen.refused),
    ]
    if not found:
        return registered
    last, (tap, vlan, mac, address) = max(found, key=lambda each: each[0])
    return LastSeen(
        tap,
        vlan & ~SERVICE_TAG,
        bool(vlan & SERVICE_TAG),
        mac,
        address,
        max(0, now - last) / 1e9,
    )


_Found = tuple[int, tuple[str, int, str, IPv4Address]]
"""When, and tap, VLAN, MAC and IP address."""


def _served(
    registered: LastSeen, taps: Mapping[int, str], guests: Iterable[tuple[Way, Guest]]
) -> Iterator[_Found]:
    own = (registered.tap, registered.vlan, registered.mac)
    for way, guest in guests:
        place = (taps.get(way.ifindex, ""), way.vlan, way.mac.hex(":"))
        if place == own and guest.last:
            last = guest.last_address
            address = last if isinstance(last, IPv4Address) else registered.address
            yield guest.last, (*place, address)


def _refused(
    registered: LastSeen,
    ports: Sequence[ShownPort],
    taps: Mapping[int, str],
    refused: Iterable[tuple[GuestPlace, Refused]],
) -> Iterator[_Found]:
    tap, mac = registered.tap, registered.mac
    is_alone = [port.tap for port in ports].count(tap) == 1
    elsewhere = {port.tap for port in ports if port.tap != tap and port.mac == mac}
    for place, told in refused:
        where, sender = taps.get(place.ifindex, ""), place.mac.hex(":")
        is_own = sender == mac and where not in elsewhere
        if not where or not (is_own or (where == tap and is_alone)):
            continue
        if place.reason not in _TELLING or place.mac[0] & _MULTICAST:
            continue
        if isinstance(place.address, IPv4Address) and _is_hosts(place.address):
            yield told.last, (where, place.vlan, sender, place.address)


def _is_hosts(address: IPv4Address) -> bool:
    """Can a host have it?"""
    return not (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_reserved
    )
