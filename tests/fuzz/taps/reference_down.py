"""The reference of to_tap: what becomes of a frame that the host sends to guests."""

from __future__ import annotations

from tests.fuzz.taps.octets import (
    ETHERNET,
    EXTENSION_HEADERS,
    FRAGMENT_HEADER,
    ICMP,
    ICMP6,
    IPV4,
    IPV4_TYPE,
    IPV6,
    IPV6_TYPE,
    Octets,
    adjust,
    adjust_transport,
    four,
    number,
    part,
    put,
    six,
)
from tests.fuzz.taps.world import Dropped, Outcome, Tag, Verdict, World
from vagent.datapath.tap.layout import DropReason, Reply
from vagent.ports.identity import index_of, link_local_of

_ERRORS4, _TRANSLATED4 = (3, 4, 5, 11, 12), (3, 11)
_TRANSLATED6 = (1, 2, 3)
_NOBODY = DropReason.UNKNOWN_IDENTITY


def down(world: World, frame: bytes, tag: Tag | None, *, cut_later: bool) -> Outcome:
    """`cut_later` says that the interface cuts the packet into segments."""
    try:
        return _sent(world, bytearray(frame), tag, cut_later=cut_later)
    except Dropped as dropped:
        return Outcome(Verdict.DROP, reason=dropped.reason)


def _sent(
    world: World, frame: bytearray, tag: Tag | None, *, cut_later: bool
) -> Outcome:
    kind = number(frame, 12)
    if tag is not None or kind not in (IPV4_TYPE, IPV6_TYPE):
        raise Dropped(_NOBODY)
    is_4 = kind == IPV4_TYPE
    index = _find4(world, frame) if is_4 else _find6(world, frame)
    reply = world.replies.get(index)
    if reply is None:
        raise Dropped(_NOBODY)
    address = _address4(reply) if is_4 else _address6(reply, frame)
    if len(frame) - ETHERNET > reply.mtu and not cut_later:
        raise Dropped(DropReason.TOO_BIG)
    if is_4:
        _four(frame, address)
    else:
        _six(frame, address)
    put(frame, 0, reply.mac + world.constants.service_mac)
    pushed = Tag(0x8100, reply.vlan) if reply.vlan else None
    return Outcome(Verdict.REDIRECT, bytes(frame), pushed)


# IPv4


def _find4(world: World, frame: Octets) -> int:
    header = part(frame, ETHERNET, IPV4, DropReason.MALFORMED)
    if header[0] >> 4 != 4 or header[0] & 15 < 5:
        raise Dropped(DropReason.MALFORMED)
    destination = four(header, 16)
    if destination.is_multicast:
        raise Dropped(None)
    return index_of(int(destination), 4, world.constants.identity_base)


def _address4(reply: Reply) -> bytes:
    if reply.address4 is None:
        raise Dropped(_NOBODY)
    return reply.address4.packed


def _four(frame: bytearray, new: bytes) -> None:
    old = bytes(frame[30:34])
    transport = ETHERNET + 4 * (frame[ETHERNET] & 15)
    is_fragment = number(frame, 20) & 0x3FFF != 0
    is_later = number(frame, 20) & 0x1FFF != 0
    protocol = frame[23]
    if not is_later and protocol == ICMP:
        _error4(frame, transport, old, new, is_fragment=is_fragment)
    elif not is_later:
        _transport(frame, transport, protocol, old, new, is_fragment=is_fragment)
    adjust(frame, 24, old, new)
    put(frame, 30, new)


def _error4(
    frame: bytearray, at: int, old: bytes, new: bytes, *, is_fragment: bool
) -> None:
    kind = part(frame, at, 1, DropReason.MALFORMED)[0]
    if kind not in _ERRORS4:
        return
    if kind not in _TRANSLATED4 or is_fragment:
        raise Dropped(DropReason.ICMP_ERROR)
    quoted = part(frame, at + 8, IPV4 + 8, DropReason.ICMP_ERROR)
    if quoted[0] != 0x45 or quoted[12:16] != old:
        raise Dropped(DropReason.ICMP_ERROR)
    adjust(frame, at + 8 + 10, old, new)
    put(frame, at + 8 + 12, new)


# IPv6


def _find6(world: World, frame: Octets) -> int:
    header = part(frame, ETHERNET, IPV6, DropReason.MALFORMED)
    if header[0] >> 4 != 6:
        raise Dropped(DropReason.MALFORMED)
    destination = six(header, 24)
    if destination.is_multicast:
        raise Dropped(None)
    if destination.packed[:4] != world.constants.identity_prefix6:
        raise Dropped(_NOBODY)
    return number(destination.packed, 4)


def _six(frame: bytearray, new: bytes) -> None:
    transport, protocol, is_first, is_fragment = _transport6(frame)
    old = bytes(frame[38:54])
    if is_first and protocol == ICMP6:
        _error6(frame, transport, old, new, is_fragment=is_fragment)
    if is_first:
        _transport(frame, transport, protocol, old, new, is_fragment=is_fragment)
    put(frame, 38, new)


def _transport6(frame: Octets) -> tuple[int, int, bool, bool]:
    """Where the transport begins, its protocol, whether it is there at all, and whether
    this is a part of a packet.
    """
    at, protocol = ETHERNET + IPV6, frame[20]
    is_first, is_fragment = True, False
    if protocol == FRAGMENT_HEADER:
        header = part(frame, at, 8, DropReason.MALFORMED)
        at, protocol = at + 8, header[0]
        is_first = number(header, 2) & 0xFFF8 == 0
        is_fragment = number(header, 2) & 0xFFF9 != 0
    if is_first and protocol in EXTENSION_HEADERS:
        raise Dropped(DropReason.EXTENSION_HEADER)
    return at, protocol, is_first, is_fragment


def _address6(reply: Reply, frame: Octets) -> bytes:
    identity = six(frame, 38)
    index, complement = number(identity.packed, 4), number(identity.packed, 6)
    if complement == 0:
        if number(identity.packed, 8, 8) != 1 or reply.address6 is None:
            raise Dropped(_NOBODY)
        return reply.address6.packed
    own = link_local_of(identity)
    if index ^ complement != 0xFFFF or not reply.takes_link_local or own is None:
        raise Dropped(_NOBODY)
    return own.packed


def _error6(
    frame: bytearray, at: int, old: bytes, new: bytes, *, is_fragment: bool
) -> None:
    kind = part(frame, at, 1, DropReason.MALFORMED)[0]
    if kind > 127:
        return
    if kind not in _TRANSLATED6 or is_fragment:
        raise Dropped(DropReason.ICMP_ERROR)
    quoted = part(frame, at + 8, IPV6 + 8, DropReason.ICMP_ERROR)
    if quoted[0] >> 4 != 6 or quoted[8:24] != old:
        raise Dropped(DropReason.ICMP_ERROR)
    adjust(frame, at + 2, old, new)
    put(frame, at + 8 + 8, new)


def _transport(
    frame: bytearray,
    at: int,
    protocol: int,
    old: bytes,
    new: bytes,
    *,
    is_fragment: bool,
) -> None:
    try:
        adjust_transport(frame, at, protocol, old, new)
    except IndexError:
        reason = DropReason.FRAGMENT if is_fragment else DropReason.MALFORMED
        raise Dropped(reason) from None
