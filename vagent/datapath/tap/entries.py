"""What the maps hold for attachments and services: pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from vagent.datapath.state import Address, Attachment
from vagent.datapath.tap import layout
from vagent.datapath.tap.layout import (
    Guest,
    GuestFlag,
    GuestPlace,
    IdentityEntry,
    Reply,
)

Elements = dict[bytes, bytes]
"""The elements of one map."""
Maps = dict[str, Elements]
"""Maps by name, with what they hold."""

KEPT = ("tap", "reply", "guest", "identity", "service")
"""The maps that are written here, in the order in which elements come. They go in the
opposite order, so a frame that is served can be answered."""
COUNTED = {"guest": layout.GUEST_PACKETS, "tap": 0}
"""Maps to whose values the programs add, and the bytes before their counters."""


class Way(NamedTuple):
    """The key by which frames of an attachment are found: tap, VLAN and MAC."""

    ifindex: int
    vlan: int
    mac: bytes


def way_of(attachment: Attachment) -> Way:
    """Where its frames come from."""
    vlan = 0 if attachment.tag is None else attachment.tag.sent
    return Way(attachment.ifindex, vlan, _mac(attachment))


def wanted_maps(
    addresses: Iterable[Address], attachments: Iterable[Attachment]
) -> Maps:
    """What all maps of KEPT hold."""
    maps: Maps = {name: {} for name in KEPT}
    maps["service"] = service_elements(addresses)
    beside: dict[Way, list[Attachment]] = {}
    for attachment in attachments:
        for name, key, value in own_elements(attachment):
            maps[name][key] = value
        beside.setdefault(way_of(attachment), []).append(attachment)
    for way, several in beside.items():
        maps["guest"][layout.encode_guest_key(*way)] = guest_element(several)
        maps["tap"][layout.encode_number(way.ifindex)] = layout.encode_drops()
    return maps


def service_elements(addresses: Iterable[Address]) -> Elements:
    """The guarded addresses."""
    return dict(map(layout.encode_service, addresses))


def own_elements(attachment: Attachment) -> list[tuple[str, bytes, bytes]]:
    """Map, key and value of what one attachment alone needs."""
    way = way_of(attachment)
    reply = Reply(
        attachment.ifindex,
        attachment.mtu,
        way.mac,
        0 if attachment.tag is None else attachment.tag.got,
        attachment.address,
        attachment.address6,
        attachment.takes_link_local,
    )
    elements = [
        ("reply", layout.encode_number(attachment.index), layout.encode_reply(reply))
    ]
    identities: tuple[tuple[Address | None, Address], ...] = (
        (attachment.address, attachment.identity),
        (attachment.address6, attachment.identity6),
    )
    for address, identity in identities:
        if address is not None:
            place = layout.encode_place(
                GuestPlace(way.ifindex, way.vlan, way.mac, address)
            )
            entry = layout.encode_identity(IdentityEntry(attachment.index, identity))
            elements.append(("identity", place, entry))
    return elements


def guest_element(attachments: Iterable[Attachment]) -> bytes:
    """The value of a tap, VLAN and MAC that these share: that of the one that takes its
    link-local addresses, else of the first.
    """
    several = sorted(attachments, key=lambda each: each.index)
    first = next((each for each in several if each.takes_link_local), several[0])
    flags = GuestFlag(0)
    if first.takes_link_local:
        flags |= GuestFlag.TAKES_LINK_LOCAL
    if any(each.learns for each in several):
        flags |= GuestFlag.LEARNS
    got = 0 if first.tag is None else first.tag.got
    return layout.encode_guest(Guest(first.index, flags, got))


def is_same(name: str, held: bytes | None, wanted: bytes) -> bool:
    """Does a map hold what it must? Counters do not count."""
    if held is None:
        return False
    end = COUNTED.get(name, len(wanted))
    return held[:end] == wanted[:end]


def _mac(attachment: Attachment) -> bytes:
    return bytes.fromhex(attachment.mac.replace(":", ""))
