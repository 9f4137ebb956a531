"""The reference of from_tap: what becomes of a frame that a guest sends."""

from __future__ import annotations

import time
from typing import NamedTuple

from tests.fuzz.taps.octets import (
    ARP_TYPE,
    ETHERNET,
    IPV4,
    IPV4_TYPE,
    IPV6_TYPE,
    adjust,
    adjust_transport,
    four,
    number,
    part,
    put,
)
from tests.fuzz.taps.reference_ipv6_up import six_up
from tests.fuzz.taps.reference_stacked import TAGS, check_options, check_stacked
from tests.fuzz.taps.world import Dropped, Outcome, Sender, Tag, Verdict, World
from vagent.datapath.tap.layout import (
    SERVED_LATELY,
    SERVICE_TAG,
    Address,
    DropReason,
    GuestFlag,
)

_ERRORS, _TRANSLATED = (3, 4, 5, 11, 12), (3, 11)
_MALFORMED = DropReason.MALFORMED


def up(world: World, ifindex: int, frame: bytes, tag: Tag | None) -> Outcome:
    """From a tap. A frame that is for no service passes as it is."""
    sender = Sender(ifindex, _vlan(tag), bytes(frame[6:12]))
    announced = _announced(world, sender, frame)
    try:
        return _sent(world, sender, frame, tag)._replace(announced=announced)
    except Dropped as dropped:
        return Outcome(Verdict.DROP, reason=dropped.reason, announced=announced)


def _announced(world: World, sender: Sender, frame: bytes) -> Address | None:
    """What a request or an announcement tells of a guest whose port learns."""
    packet = frame[ETHERNET : ETHERNET + 28]
    if number(frame, 12) != ARP_TYPE or len(packet) < 28 or packet[4:6] != b"\6\4":
        return None
    operation, address = number(packet, 6), four(packet, 14)
    if operation != 1 and (operation != 2 or packet[14:18] != packet[24:28]):
        return None
    guest = world.guests.get(sender.key)
    if guest is None or not guest.flags & GuestFlag.LEARNS:
        return None
    if guest.last and time.monotonic_ns() - guest.last < SERVED_LATELY:
        return None
    is_new = address not in world.services and not sender.known(world, address)
    is_own = packet[8:14] == sender.mac and not address.is_unspecified
    return address if is_new and is_own else None


def _vlan(tag: Tag | None) -> int:
    if tag is None:
        return 0
    return tag.control & 0xFFF | (SERVICE_TAG if tag.kind == 0x88A8 else 0)


def _sent(world: World, sender: Sender, frame: bytes, tag: Tag | None) -> Outcome:
    kind = number(frame, 12)
    changed: bytearray | None = None
    if kind in TAGS:
        check_stacked(world, frame)
    elif kind == ARP_TYPE:
        answer = _arp(world, sender, frame)
        if answer is not None:
            return answer
    elif kind == IPV4_TYPE:
        changed = _four(world, sender, frame)
    elif kind == IPV6_TYPE:
        found = six_up(world, sender, frame)
        if isinstance(found, Outcome):
            return found
        changed = found
    if changed is None:
        return Outcome(Verdict.PASS, frame, tag)
    put(changed, 0, world.constants.host_mac)
    return Outcome(Verdict.REDIRECT, bytes(changed), None)


def _arp(world: World, sender: Sender, frame: bytes) -> Outcome | None:
    packet = part(frame, ETHERNET, 28, _MALFORMED)
    if packet[4:6] != b"\6\4":
        raise Dropped(_MALFORMED)
    if four(packet, 14) in world.services:
        raise Dropped(DropReason.CLAIMED)
    if four(packet, 24) not in world.services:
        return None
    guest = world.guests.get(sender.key)
    if number(packet, 6) != 1 or packet[8:14] != sender.mac or guest is None:
        raise Dropped(DropReason.SPOOFED)
    service_mac = world.constants.service_mac
    answer = bytearray(frame)
    put(answer, 0, sender.mac + service_mac)
    put(answer, ETHERNET + 6, b"\0\2" + service_mac + packet[24:28])
    put(answer, ETHERNET + 18, packet[8:18])
    return answered(bytes(answer), guest.vlan_got)


def answered(frame: bytes, vlan: int) -> Outcome:
    """An answer that goes back to the guest."""
    return Outcome(Verdict.REDIRECT, frame, Tag(0x8100, vlan) if vlan else None)


class _Header(NamedTuple):
    """Offsets in the frame of the transport header and of the packet's end."""

    transport: int
    end: int


def _four(world: World, sender: Sender, frame: bytes) -> bytearray | None:
    header = part(frame, ETHERNET, IPV4, _MALFORMED)
    if four(header, 12) in world.services:
        raise Dropped(DropReason.CLAIMED)
    if four(header, 16) not in world.services:
        check_options(world, frame[ETHERNET:])
        return None
    length = 4 * (header[0] & 15)
    total = number(header, 2)
    if header[0] >> 4 != 4 or length < IPV4:
        raise Dropped(_MALFORMED)
    if not length <= total <= len(frame) - ETHERNET:
        raise Dropped(_MALFORMED)
    new = sender.identity(world, four(header, 12)).packed
    changed = bytearray(frame)
    _inner(world, sender, changed, _Header(ETHERNET + length, ETHERNET + total), new)
    adjust(changed, 24, header[12:16], new)
    put(changed, 26, new)
    return changed


def _inner(
    world: World, sender: Sender, frame: bytearray, at: _Header, new: bytes
) -> None:
    fragment, protocol = number(frame, 20), frame[23]
    if fragment & 0x1FFF:
        return
    if protocol == 1:
        _error(world, sender, frame, at)
        return
    needed = {6: 18, 17: 8}.get(protocol, 0)
    if at.transport + needed > at.end:
        is_part = fragment & 0x2000
        raise Dropped(DropReason.FRAGMENT if is_part else _MALFORMED)
    adjust_transport(frame, at.transport, protocol, bytes(frame[26:30]), new)


def _error(world: World, sender: Sender, frame: bytearray, at: _Header) -> None:
    """An ICMP error is about a flow of the guest itself."""
    if at.transport >= len(frame) or frame[at.transport] not in _ERRORS:
        return
    quote = at.transport + 8
    if (
        frame[at.transport] not in _TRANSLATED
        or frame[ETHERNET] != 0x45
        or number(frame, 20) & 0x3FFF
        or quote + IPV4 + 8 > at.end
        or frame[quote] != 0x45
    ):
        raise Dropped(DropReason.ICMP_ERROR)
    quoted = four(frame, quote + 16)
    identity = sender.known(world, quoted)
    if identity is None:
        raise Dropped(DropReason.ICMP_ERROR)
    adjust(frame, quote + 10, quoted.packed, identity.packed)
    put(frame, quote + 16, identity.packed)
