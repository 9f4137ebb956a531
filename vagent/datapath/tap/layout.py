"""Keys and values of the tap programs' maps, as bytes and as values: pure.

The programs read and write them by the offsets that stand here. Integers are as the
machine writes them, MAC and IP addresses in network order. An IPv4 address stands in 16
bytes as an IPv4-mapped one does (RFC 4291 2.5.5.2).

A guest's place is where its frames come from: tap, VLAN, MAC address and IP address.
A VLAN of 0 is a frame without a tag or with a tag of VLAN 0. SERVICE_TAG is set beside
the VLAN id of an 802.1ad tag, which no port is registered for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from vagent.kernel.bpf import MapKind

VERSION = 1
"""Of the layout; it is part of the name under which a map is pinned, so maps of another
layout are never adopted. Raise it with each change of a key or a value."""

REASONS = 16
"""Counters that there is room for, by DropReason."""
SERVICE_TAG = 0x8000
"""Stands in a VLAN beside the id of an 802.1ad tag."""
NEWS_AGAIN = 60_000_000_000
"""Nanoseconds without a refusal after which the next one of its kind is news again."""

ANNOUNCED = 15
"""Stands in the place of a DropReason in `refused` and `news`: nothing was dropped, a
guest has told by ARP an address that its port may learn."""
SERVED_LATELY = 30_000_000_000
"""Nanoseconds after a guest was served for which its port follows no announcement: a
guest with a second address, which it announces, too, keeps its flows."""

PLACE_SIZE = 32
PLACE_IFINDEX, PLACE_VLAN, PLACE_FAMILY, PLACE_REASON = 0, 4, 6, 7
PLACE_MAC, PLACE_ADDRESS = 8, 16
_PLACE = struct.Struct("=IHBB6s2x16s")

ADDRESS_SIZE = 16
SERVICE_SIZE = 4
_SERVICE = (1).to_bytes(SERVICE_SIZE, "little")

IDENTITY_SIZE = 24
IDENTITY_INDEX, IDENTITY_ADDRESS = 0, 8
_IDENTITY = struct.Struct("=I4x16s")

GUEST_KEY_SIZE, GUEST_SIZE = 12, 168
GUEST_INDEX, GUEST_FLAGS, GUEST_VLAN_GOT, GUEST_PACKETS = 0, 4, 6, 8
GUEST_LAST, GUEST_LAST_ADDRESS, GUEST_DROPS = 16, 24, 40
_GUEST_KEY = struct.Struct("=IH6s")
_GUEST = struct.Struct(f"=IHHQQ16s{REASONS}Q")

INDEX_SIZE = 4
_NUMBER = struct.Struct("=I")
TAP_SIZE = 8 * REASONS
_DROPS = struct.Struct(f"={REASONS}Q")

REPLY_SIZE = 48
REPLY_TAP, REPLY_MTU, REPLY_MAC, REPLY_VLAN, REPLY_FLAGS = 0, 4, 8, 14, 16
REPLY_ADDRESS4, REPLY_ADDRESS6 = 20, 24
_REPLY = struct.Struct("=II6sHI4s16s8x")

REFUSED_SIZE = 16
REFUSED_PACKETS, REFUSED_LAST = 0, 8
_REFUSED = struct.Struct("=QQ")

PROBE_SIZE = 32
PROBE_IDENTITY, PROBE_TAP, PROBE_ACCEPTED = 0, 4, 8
PROBE_ANSWERED, PROBE_REFUSED = 16, 24
_PROBE = struct.Struct("=4sIQQQ")
NOT_FOR_SERVICE = 255
"""Stands in the place of a DropReason in `probe`: the frame was for no service."""

Address = IPv4Address | IPv6Address


class DropReason(IntEnum):
    """Why a frame was dropped."""

    CLAIMED = 1
    """Its source, or what it claims by ARP or neighbour discovery, is a service."""
    SPOOFED = 2
    """It is for a service, and comes from a place that is not registered."""
    STACKED_TAGS = 3
    """It has more VLAN tags than a guest is served behind."""
    MALFORMED = 4
    """It is cut short, or its header says what cannot be."""
    EXTENSION_HEADER = 5
    """It is for a service and has IPv6 extension headers, or names one in options."""
    FRAGMENT = 6
    """It is a fragment that cannot be carried."""
    ICMP_ERROR = 7
    """It is an ICMP error about a flow that is not the guest's own."""
    UNLEARNED = 8
    """It is from a port that learns its address, which is not entered yet."""
    UNKNOWN_IDENTITY = 9
    """Towards guests: nobody has the identity address that it is for."""
    TOO_BIG = 10
    """Towards guests: it is longer than the tap's MTU."""

    @property
    def word(self) -> str:
        """As metrics and texts say it."""
        return self.name.lower()


class GuestFlag(IntFlag):
    """What holds for a guest's MAC address on its tap and VLAN."""

    TAKES_LINK_LOCAL = 1
    """It may use any IPv6 link-local address."""
    LEARNS = 2
    """The port's address is the one that it uses."""


_NO_FLAGS = GuestFlag(0)


class ReplyFlag(IntFlag):
    """Which of an index's addresses there are."""

    HAS_IPV4 = 1
    HAS_IPV6 = 2
    TAKES_LINK_LOCAL = 4


class MapForm(NamedTuple):
    """What a map is made of; sizes in bytes. `is_preallocated` only matters for hash
    maps: the others always are, or never.
    """

    kind: MapKind
    key: int
    value: int
    entries: int
    is_preallocated: bool = True


MAPS = {
    "service": MapForm(MapKind.HASH, ADDRESS_SIZE, SERVICE_SIZE, 4_096, False),
    "identity": MapForm(MapKind.HASH, PLACE_SIZE, IDENTITY_SIZE, 262_144, False),
    "guest": MapForm(MapKind.HASH, GUEST_KEY_SIZE, GUEST_SIZE, 131_072, False),
    "tap": MapForm(MapKind.HASH, INDEX_SIZE, TAP_SIZE, 65_536, False),
    "reply": MapForm(MapKind.HASH, INDEX_SIZE, REPLY_SIZE, 65_536, False),
    "refused": MapForm(MapKind.LRU_HASH, PLACE_SIZE, REFUSED_SIZE, 4_096),
    "news": MapForm(MapKind.QUEUE, 0, PLACE_SIZE, 256),
    "lost": MapForm(MapKind.ARRAY, INDEX_SIZE, 8, REASONS),
    "probe": MapForm(MapKind.HASH, INDEX_SIZE, PROBE_SIZE, 16, False),
}
"""The maps that the tap programs share, by name. The fast path has maps of its own."""


class MapNumbers(NamedTuple):
    """The descriptors of all maps that the programs use. Those of the fast path, from
    `entries` on, are only used where `Constants` say that it is on.
    """

    service: int
    identity: int
    guest: int
    tap: int
    reply: int
    refused: int
    news: int
    lost: int
    probe: int
    entries: int = 0
    lease: int = 0
    counted: int = 0
    candidates: int = 0


@dataclass(frozen=True, slots=True)
class Constants:
    """What is written into the programs themselves.

    `guest_side` is the interface index of the guests' end of the veth pair, `host_mac`
    the MAC address of the other end. `service_mac` answers for services.
    `identity_base` is the first address of the IPv4 identity range as a number, and
    `identity_prefix6` the first four bytes of IPv6 identities.
    """

    guest_side: int
    host_mac: bytes
    service_mac: bytes
    identity_base: int
    identity_prefix6: bytes
    fast_path: bool


class GuestPlace(NamedTuple):
    """Where a frame comes from. `address` is None where the frame has none, as far as
    the program has read it. `reason` is 0 but for what was refused, or is ANNOUNCED.
    """

    ifindex: int
    vlan: int
    mac: bytes
    address: Address | None
    reason: int = 0


@dataclass(frozen=True, slots=True)
class IdentityEntry:
    """What the program makes of a place: the identity address of an index."""

    index: int
    address: Address


@dataclass(frozen=True, slots=True)
class Guest:
    """A MAC address on a tap and VLAN, and what the program has counted for it.

    `index` is the one that takes its link-local addresses. Answers get a tag with
    `vlan_got`, 0 for none. `last` is the kernel's monotonic clock in nanoseconds at the
    last accepted packet, 0 before the first; that was sent from `last_address`. `drops`
    are counters by DropReason.
    """

    index: int
    flags: GuestFlag = _NO_FLAGS
    vlan_got: int = 0
    packets: int = 0
    last: int = 0
    last_address: Address | None = None
    drops: tuple[int, ...] = (0,) * REASONS


class Reply(NamedTuple):
    """Where packets to an index go: out of a tap with this MTU (bytes of IP), to a MAC
    address, with a tag of this VLAN (0 for none).
    """

    tap: int
    mtu: int
    mac: bytes
    vlan: int = 0
    address4: IPv4Address | None = None
    address6: IPv6Address | None = None
    takes_link_local: bool = False


class Refused(NamedTuple):
    """How many packets were refused, and when the last one was, in nanoseconds of the
    kernel's monotonic clock.
    """

    packets: int
    last: int


class TapProbe(NamedTuple):
    """A trial of a guest's place by frames with a mark of their own. They get this
    identity in the place of the guest's, answers in place go out of this tap, and
    nothing is counted but here: frames that went to the host or were answered, and the
    number of the DropReason (or NOT_FOR_SERVICE) for which the last one was dropped, 0
    for none.
    """

    identity: IPv4Address
    tap: int
    accepted: int = 0
    answered: int = 0
    refused: int = 0


def encode_address(address: Address | None) -> bytes:
    """The 16 bytes of an address, zeros for None."""
    if address is None:
        return bytes(ADDRESS_SIZE)
    if isinstance(address, IPv4Address):
        return _MAPPED + address.packed
    return address.packed


def decode_address(data: bytes) -> Address | None:
    """Read 16 bytes; None for zeros."""
    if data.startswith(_MAPPED):
        return IPv4Address(data[len(_MAPPED) :])
    return IPv6Address(data) if any(data) else None


def encode_service(address: Address) -> tuple[bytes, bytes]:
    """Key and value of a guarded service address."""
    return encode_address(address), _SERVICE


def encode_place(place: GuestPlace) -> bytes:
    """The key of an identity, or with a reason that of a refusal."""
    return _PLACE.pack(
        place.ifindex,
        place.vlan,
        _family(place.address),
        place.reason,
        place.mac,
        encode_address(place.address),
    )


def decode_place(data: bytes) -> GuestPlace:
    """Read PLACE_SIZE bytes. The address is None where the family is 0."""
    ifindex, vlan, family, reason, mac, address = _PLACE.unpack(data)
    if family == _IPV6:
        return GuestPlace(ifindex, vlan, mac, IPv6Address(address), reason)
    known = decode_address(address) if family else None
    return GuestPlace(ifindex, vlan, mac, known, reason)


def encode_identity(identity: IdentityEntry) -> bytes:
    """The value under a place."""
    return _IDENTITY.pack(identity.index, encode_address(identity.address))


def decode_identity(data: bytes) -> IdentityEntry:
    """Read IDENTITY_SIZE bytes."""
    index, address = _IDENTITY.unpack(data)
    return IdentityEntry(index, decode_address(address) or IPv6Address(0))


def encode_guest_key(ifindex: int, vlan: int, mac: bytes) -> bytes:
    """The key of a guest."""
    return _GUEST_KEY.pack(ifindex, vlan, mac)


def decode_guest_key(data: bytes) -> tuple[int, int, bytes]:
    """Interface index, VLAN and MAC address."""
    ifindex, vlan, mac = _GUEST_KEY.unpack(data)
    return ifindex, vlan, mac


def encode_guest(guest: Guest) -> bytes:
    """The value of a guest."""
    return _GUEST.pack(
        guest.index,
        guest.flags,
        guest.vlan_got,
        guest.packets,
        guest.last,
        encode_address(guest.last_address),
        *guest.drops,
    )


def decode_guest(data: bytes) -> Guest:
    """Read GUEST_SIZE bytes."""
    index, flags, vlan_got, packets, last, address, *drops = _GUEST.unpack(data)
    return Guest(
        index,
        GuestFlag(flags),
        vlan_got,
        packets,
        last,
        decode_address(address),
        tuple(drops),
    )


def encode_number(number: int) -> bytes:
    """The key of a tap (its interface index), of a reply (an index), of what was lost
    (a DropReason), of a probe (its mark).
    """
    return _NUMBER.pack(number)


def decode_number(data: bytes) -> int:
    """Read INDEX_SIZE bytes."""
    (number,) = _NUMBER.unpack(data)
    return int(number)


def encode_drops(drops: Iterable[int] = (0,) * REASONS) -> bytes:
    """The value of a tap: counters by DropReason."""
    return _DROPS.pack(*drops)


def decode_drops(data: bytes) -> tuple[int, ...]:
    """Read TAP_SIZE bytes."""
    return _DROPS.unpack(data)


def encode_reply(reply: Reply) -> bytes:
    """The value under an index."""
    flags = ReplyFlag(0)
    if reply.address4 is not None:
        flags |= ReplyFlag.HAS_IPV4
    if reply.address6 is not None:
        flags |= ReplyFlag.HAS_IPV6
    if reply.takes_link_local:
        flags |= ReplyFlag.TAKES_LINK_LOCAL
    return _REPLY.pack(
        reply.tap,
        reply.mtu,
        reply.mac,
        reply.vlan,
        flags,
        bytes(4) if reply.address4 is None else reply.address4.packed,
        encode_address(reply.address6),
    )


def decode_reply(data: bytes) -> Reply:
    """Read REPLY_SIZE bytes."""
    tap, mtu, mac, vlan, flags, address4, address6 = _REPLY.unpack(data)
    return Reply(
        tap,
        mtu,
        mac,
        vlan,
        IPv4Address(address4) if flags & ReplyFlag.HAS_IPV4 else None,
        IPv6Address(address6) if flags & ReplyFlag.HAS_IPV6 else None,
        bool(flags & ReplyFlag.TAKES_LINK_LOCAL),
    )


def decode_refused(data: bytes) -> Refused:
    """Read REFUSED_SIZE bytes."""
    return Refused(*_REFUSED.unpack(data))


def encode_probe(probe: TapProbe) -> bytes:
    """The value under a probe's mark, which is encoded as a number."""
    return _PROBE.pack(probe.identity.packed, *probe[1:])


def decode_probe(data: bytes) -> TapProbe:
    """Read PROBE_SIZE bytes."""
    identity, *others = _PROBE.unpack(data)
    return TapProbe(IPv4Address(identity), *others)


_MAPPED = bytes(10) + b"\xff\xff"
_IPV4, _IPV6 = 4, 6


def _family(address: Address | None) -> int:
    if address is None:
        return 0
    return _IPV4 if isinstance(address, IPv4Address) else _IPV6
