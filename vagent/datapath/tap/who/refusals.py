"""What was refused at the taps, joined with what is registered there: which port it is
about, and what of it is not as registered. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from heapq import nlargest
from ipaddress import IPv4Address, IPv6Address

from vagent.datapath.tap.layout import (
    ANNOUNCED,
    SERVICE_TAG,
    DropReason,
    GuestPlace,
    Refused,
)
from vagent.ports.port import Port, Registration

Address = IPv4Address | IPv6Address
AtTap = Callable[[str], Sequence[Registration]]
"""The registered ports of a tap, by its name."""

MAX_SENDERS = 16
"""Of one tap that are kept for one reason."""


class Difference(StrEnum):
    """What of a frame is not as registered."""

    PORT = "port"
    """No port is registered for its tap."""
    VLAN = "VLAN"
    MAC = "MAC address"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Sender:
    """Tap, VLAN, MAC and address of a frame. `vlan` is 0 without a tag, and
    `is_service_tag` says that the tag was of 802.1ad, which no port is registered for.
    """

    tap: str
    vlan: int
    is_service_tag: bool
    mac: str
    address: Address | None

    def __str__(self) -> str:
        return _shown(self.mac, str(self.address or ""), self.tag)

    @property
    def tag(self) -> str:
        """The tag as people write it, "" for none."""
        if not self.vlan and not self.is_service_tag:
            return ""
        kind = "802.1ad VLAN" if self.is_service_tag else "VLAN"
        return f"{kind} {self.vlan}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Frames of one sender that were refused for one reason. `port` is the registered
    port that comes nearest to the sender, None where its tap has none. `ago` is how
    many seconds have passed since the last of the `packets`. With `was_dropped` False
    they are ARP packets, which passed: the port may learn the address that they tell.
    """

    reason: DropReason
    sender: Sender
    port: Port | None
    differs: tuple[Difference, ...]
    packets: int = 1
    ago: float = 0.0
    was_dropped: bool = True

    @property
    def kind(self) -> tuple[str, DropReason]:
        """What it is told of once a minute: the port, or the tap without one, and the
        reason.
        """
        return (self.port.id if self.port else self.sender.tap), self.reason

    def __str__(self) -> str:
        """Why, from whom, what differs, and what is registered, on one line."""
        said = f"{self.reason.word}, from {self.sender}"
        if self.port is None:
            return f"{said}; no port is registered for this tap"
        differs = " and ".join(f"another {each}" for each in self.differs)
        why = f" ({differs})" if differs else ""
        return (
            f"{said}{why}; registered is {registered(self.port)}, port {self.port.id}"
        )


def as_members(refusal: Refusal) -> dict[str, object]:
    """Of one port, as the port API shows it."""
    sender = refusal.sender
    return {
        "reason": refusal.reason.word,
        "mac-address": sender.mac,
        "ip-address": str(sender.address or ""),
        "vlan": sender.tag,
        "differs": [each.value for each in refusal.differs],
        "packets": refusal.packets,
        "seconds-ago": round(refusal.ago),
    }


def registered(port: Port) -> str:
    """MAC address, addresses and VLAN of a port, as people write them."""
    addresses = ", ".join(map(str, port.addresses)) or "no address"
    return _shown(port.mac, addresses, f"VLAN {port.vlan}" if port.vlan else "")


def refusal_of(place: GuestPlace, tap: str, at_tap: AtTap) -> Refusal | None:
    """One refused packet from a place, where `tap` is the name of its interface. None
    for a reason that this version does not know.
    """
    was_dropped = place.reason != ANNOUNCED
    try:
        reason = DropReason(place.reason) if was_dropped else DropReason.UNLEARNED
    except ValueError:
        return None
    sender = Sender(
        tap,
        place.vlan & ~SERVICE_TAG,
        bool(place.vlan & SERVICE_TAG),
        place.mac.hex(":"),
        place.address,
    )
    nearest, differs = _nearest(sender, reason, at_tap(tap))
    return Refusal(reason, sender, nearest, differs, was_dropped=was_dropped)


def refusals_of(
    found: Iterable[tuple[GuestPlace, Refused]],
    name_of: Callable[[int], str],
    at_tap: AtTap,
    *,
    now: int,
) -> tuple[Refusal, ...]:
    """What the kernel remembers, the latest first; of one tap and reason the latest
    MAX_SENDERS, so that a guest that invents senders hides nobody else's. `name_of`
    gives the name of an interface, "" for one that is gone, whose refusals are left
    out. `now` is the kernel's monotonic clock in nanoseconds.
    """
    refusals: list[Refusal] = []
    for place, refused in _latest(found):
        tap = name_of(place.ifindex)
        refusal = refusal_of(place, tap, at_tap) if tap else None
        if refusal is not None:
            ago = max(0, now - refused.last) / 1e9
            refusals.append(replace(refusal, packets=refused.packets, ago=ago))
    return tuple(sorted(refusals, key=lambda each: each.ago))


def _latest(
    found: Iterable[tuple[GuestPlace, Refused]],
) -> Iterator[tuple[GuestPlace, Refused]]:
    groups: dict[tuple[int, int], list[tuple[GuestPlace, Refused]]] = {}
    for place, refused in found:
        group = groups.setdefault((place.ifindex, place.reason), [])
        group.append((place, refused))
    for group in groups.values():
        yield from nlargest(MAX_SENDERS, group, key=lambda each: each[1].last)


def _nearest(
    sender: Sender, reason: DropReason, there: Sequence[Registration]
) -> tuple[Port | None, tuple[Difference, ...]]:
    """The port of the tap with the fewest differences; the MAC address weighs most."""
    compared = [
        (differs, registration.port)
        for registration in there
        for differs in (_differences(sender, reason, registration.port),)
    ]
    if not compared:
        return None, (Difference.PORT,)
    differs, port = min(compared, key=lambda each: _weight(each[0]))
    return port, differs


def _weight(differs: tuple[Difference, ...]) -> tuple[bool, int]:
    return Difference.MAC in differs, len(differs)


def _differences(
    sender: Sender, reason: DropReason, port: Port
) -> tuple[Difference, ...]:
    compared = (
        (Difference.VLAN, sender.is_service_tag or sender.vlan != port.vlan),
        (Difference.MAC, sender.mac != port.mac),
        (Difference.ADDRESS, _is_other_address(sender.address, reason, port)),
    )
    return tuple(difference for difference, differs in compared if differs)


def _is_other_address(address: Address | None, reason: DropReason, port: Port) -> bool:
    """What a guest claims is the service's address, not its own; every guest has a
    link-local one.
    """
    if address is None or reason is DropReason.CLAIMED or address.is_unspecified:
        return False
    if isinstance(address, IPv6Address) and address.is_link_local:
        return False
    return address not in port.addresses


def _shown(*parts: str) -> str:
    return " ".join(filter(None, parts))
