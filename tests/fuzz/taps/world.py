"""What the programs at the taps know, and what becomes of a frame, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv6Address
from typing import NamedTuple

from vagent.datapath.tap.layout import (
    Address,
    Constants,
    DropReason,
    Guest,
    GuestFlag,
    GuestPlace,
    IdentityEntry,
    Reply,
)
from vagent.ports.identity import LINK_LOCAL, link_local_word


class Verdict(IntEnum):
    """As traffic control numbers them (linux/pkt_cls.h)."""

    PASS = 0xFFFFFFFF
    DROP = 2
    REDIRECT = 7


@dataclass(frozen=True, slots=True)
class World:
    """The programs' constants and maps. A guest is known by interface index, VLAN and
    MAC address.
    """

    constants: Constants
    services: frozenset[Address] = frozenset()
    identities: dict[GuestPlace, IdentityEntry] = field(default_factory=dict)
    guests: dict[tuple[int, int, bytes], Guest] = field(default_factory=dict)
    replies: dict[int, Reply] = field(default_factory=dict)


class Sender(NamedTuple):
    """Whom a frame comes from: tap, VLAN and MAC address."""

    ifindex: int
    vlan: int
    mac: bytes

    @property
    def key(self) -> tuple[int, int, bytes]:
        """As a key of the guests."""
        return self.ifindex, self.vlan, self.mac

    def known(self, world: World, address: Address) -> Address | None:
        """The identity that stands for an address of this sender's, if it has one."""
        entry = world.identities.get(GuestPlace(*self, address))
        if entry is not None:
            return entry.address
        guest = world.guests.get(self.key)
        takes_any = guest is not None and guest.flags & GuestFlag.TAKES_LINK_LOCAL
        if guest is None or not takes_any or address not in LINK_LOCAL:
            return None
        word = link_local_word(guest.index).to_bytes(4, "big")
        return IPv6Address(world.constants.identity_prefix6 + word + address.packed[8:])

    def identity(self, world: World, address: Address) -> Address:
        """The same; drops the frame where there is none."""
        found = self.known(world, address)
        if found is None:
            guest = world.guests.get(self.key)
            learns = guest is not None and guest.flags & GuestFlag.LEARNS
            raise Dropped(DropReason.UNLEARNED if learns else DropReason.SPOOFED)
        return found


class Tag(NamedTuple):
    """A VLAN tag that the kernel keeps beside the frame: its type, priority and id."""

    kind: int
    control: int


class Outcome(NamedTuple):
    """What becomes of a frame. `frame` and `tag` are those that go on; of a dropped one
    they do not matter. A drop has a reason where it is counted. `announced` is the
    address that a guest tells by ARP where its port may learn it.
    """

    verdict: Verdict
    frame: bytes = b""
    tag: Tag | None = None
    reason: DropReason | None = None
    announced: Address | None = None


class Dropped(Exception):  # noqa: N818 - an outcome, not an error
    """A frame is dropped; None for one that is not counted."""

    def __init__(self, reason: DropReason | None) -> None:
        super().__init__(reason)
        self.reason = reason
