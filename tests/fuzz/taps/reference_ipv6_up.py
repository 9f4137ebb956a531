"""The reference of from_tap for IPv6."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.fuzz.taps.octets import (
    ETHERNET,
    EXTENSION_HEADERS,
    FRAGMENT_HEADER,
    ICMP6,
    IPV6,
    adjust,
    adjust_transport,
    number,
    part,
    put,
    six,
    summed,
)
from tests.fuzz.taps.world import Dropped, Outcome, Sender, Tag, Verdict, World
from vagent.datapath.tap.layout import DropReason

_MALFORMED = DropReason.MALFORMED
_MAX_HEADERS = 6
_AUTHENTICATION = 51
_SOLICITATION, _ADVERTISEMENT, _REDIRECT = 135, 136, 137


@dataclass
class _Walk:
    """Where in the frame the transport header is, its protocol, and what was passed on
    the way there.
    """

    at: int
    protocol: int
    is_extended: bool = False
    has_fragment: bool = False
    is_first: bool = False
    is_later: bool = False


def six_up(world: World, sender: Sender, frame: bytes) -> Outcome | bytearray | None:
    """An answer, the frame as it goes to the host, or None where it passes."""
    header = part(frame, ETHERNET, IPV6, _MALFORMED)
    source, destination = six(header, 8), six(header, 24)
    if source in world.services:
        raise Dropped(DropReason.CLAIMED)
    is_ours = destination in world.services
    try:
        walk = _walk(frame)
        if walk.protocol == ICMP6 and not walk.is_later:
            answer = _neighbours(world, sender, frame, walk)
            if answer is not None:
                return answer
    except _Cut as cut:
        if cut.is_first:
            raise Dropped(DropReason.FRAGMENT) from None
        if is_ours:
            raise Dropped(_MALFORMED) from None
        return None
    return _to_service(world, sender, frame, walk) if is_ours else None


class _Cut(Exception):  # noqa: N818 - an outcome, not an error
    """The frame ends within its headers, or its first fragment does."""

    def __init__(self, *, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first


def _walk(frame: bytes) -> _Walk:
    walk = _Walk(ETHERNET + IPV6, frame[20])
    for passed in range(_MAX_HEADERS + 1):
        if walk.protocol not in EXTENSION_HEADERS:
            return walk
        if passed == _MAX_HEADERS:
            raise Dropped(DropReason.EXTENSION_HEADER)
        if walk.at + 8 > len(frame):
            raise _Cut(is_first=walk.is_first)
        _step(frame, walk, passed)
        if walk.is_later:
            walk.is_extended |= walk.protocol in EXTENSION_HEADERS
            return walk
    raise AssertionError


def _step(frame: bytes, walk: _Walk, passed: int) -> None:
    kind, at = walk.protocol, walk.at
    walk.protocol = frame[at]
    if kind == FRAGMENT_HEADER:
        walk.at += 8
        walk.has_fragment = True
        walk.is_extended |= passed > 0
        walk.is_later = number(frame, at + 2) & 0xFFF8 != 0
        walk.is_first |= not walk.is_later and frame[at + 3] & 1 == 1
        return
    walk.is_extended = True
    is_words = kind == _AUTHENTICATION
    walk.at += 4 * (frame[at + 1] + 2) if is_words else 8 * (frame[at + 1] + 1)


def _neighbours(
    world: World, sender: Sender, frame: bytes, walk: _Walk
) -> Outcome | None:
    if walk.at >= len(frame):
        raise _Cut(is_first=walk.is_first)
    kind = frame[walk.at]
    if kind not in (_SOLICITATION, _ADVERTISEMENT, _REDIRECT):
        return None
    about = walk.at + (24 if kind == _REDIRECT else 8)
    if about + 16 > len(frame):
        raise _Cut(is_first=walk.is_first)
    target = six(frame, about)
    if target not in world.services:
        return None
    if walk.has_fragment:
        raise Dropped(DropReason.FRAGMENT)
    source = six(frame, 22)
    if kind != _SOLICITATION or source.is_unspecified:
        raise Dropped(DropReason.CLAIMED)
    guest = world.guests.get(sender.key)
    if frame[21] != 255 or frame[walk.at + 1] != 0 or guest is None:
        raise Dropped(DropReason.SPOOFED)
    mac = world.constants.service_mac
    message = bytes.fromhex("8800000060000000") + target.packed + b"\2\1" + mac
    addresses = target.packed + source.packed
    total = summed(addresses + struct.pack("!II", len(message), ICMP6) + message)
    message = message[:2] + struct.pack("!H", 0xFFFF ^ total) + message[4:]
    header = bytes.fromhex("86dd6000000000203aff") + addresses
    tag = Tag(0x8100, guest.vlan_got) if guest.vlan_got else None
    return Outcome(Verdict.REDIRECT, sender.mac + mac + header + message, tag)


def _to_service(world: World, sender: Sender, frame: bytes, walk: _Walk) -> bytearray:
    if walk.is_extended:
        raise Dropped(DropReason.EXTENSION_HEADER)
    end = ETHERNET + IPV6 + number(frame, 18)
    if end > len(frame):
        raise Dropped(_MALFORMED)
    old = bytes(frame[22:38])
    new = sender.identity(world, six(frame, 22)).packed
    changed = bytearray(frame)
    needed = {6: 18, 17: 8, ICMP6: 4}.get(walk.protocol, 0)
    if not walk.is_later:
        if needed and walk.at + needed > end:
            is_part = walk.is_first
            raise Dropped(DropReason.FRAGMENT if is_part else _MALFORMED)
        if walk.protocol == ICMP6:
            _error(world, sender, changed, walk, end)
        if not _is_neutral(old, new):
            adjust_transport(changed, walk.at, walk.protocol, old, new)
    put(changed, 22, new)
    return changed


def _error(
    world: World, sender: Sender, frame: bytearray, walk: _Walk, end: int
) -> None:
    """An ICMPv6 error is about a flow of the guest itself."""
    kind, quote = frame[walk.at], walk.at + 8
    if kind > 127:
        return
    if (
        kind not in (1, 2, 3)
        or walk.has_fragment
        or quote + IPV6 + 8 > end
        or frame[quote] >> 4 != 6
    ):
        raise Dropped(DropReason.ICMP_ERROR)
    quoted = six(frame, quote + 24)
    identity = sender.known(world, quoted)
    if identity is None:
        raise Dropped(DropReason.ICMP_ERROR)
    if not _is_neutral(quoted.packed, identity.packed):
        adjust(frame, walk.at + 2, quoted.packed, identity.packed)
    put(frame, quote + 24, identity.packed)


def _is_neutral(old: bytes, new: bytes) -> bool:
    """Of a link-local address the upper half changes, and no checksum."""
    return old.startswith(b"\xfe\x80") and old[8:] == new[8:]
