"""Bytes of headers: reading, writing, and checksums that change with an address."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from tests.fuzz.taps.world import Dropped
from vagent.datapath.tap.layout import DropReason

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
ETHERNET, IPV4, IPV6 = 14, 20, 40
ARP_TYPE, IPV4_TYPE, IPV6_TYPE = 0x0806, 0x0800, 0x86DD
FRAGMENT_HEADER = 44
EXTENSION_HEADERS = frozenset((0, 43, FRAGMENT_HEADER, 51, 60, 135, 139, 140))
"""IANA, IPv6 Extension Header Types: those behind which another header follows."""

Octets = bytes | bytearray


def number(data: Octets, at: int, length: int = 2) -> int:
    """A number in network byte order. Raises IndexError behind the data's end."""
    if at + length > len(data):
        raise IndexError(at)
    return int.from_bytes(data[at : at + length], "big")


def part(data: Octets, at: int, length: int, short: DropReason | None) -> bytes:
    """These bytes; drops the frame where it ends before them."""
    if at + length > len(data):
        raise Dropped(short)
    return bytes(data[at : at + length])


def put(data: bytearray, at: int, new: bytes) -> None:
    """Overwrite what stands there."""
    data[at : at + len(new)] = new


def four(data: Octets, at: int) -> IPv4Address:
    """The IPv4 address that stands there."""
    return IPv4Address(bytes(data[at : at + 4]))


def six(data: Octets, at: int) -> IPv6Address:
    """The IPv6 address that stands there."""
    return IPv6Address(bytes(data[at : at + 16]))


def summed(data: bytes) -> int:
    """The sum of its words in ones' complement (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def adjust(data: bytearray, at: int, old: bytes, new: bytes) -> None:
    """Let the checksum there follow when `old` becomes `new` (RFC 1624, equation 3)."""
    before = bytes(0xFF ^ octet for octet in data[at : at + 2] + old)
    put(data, at, struct.pack("!H", 0xFFFF ^ summed(before + new)))


def adjust_transport(
    data: bytearray, at: int, protocol: int, old: bytes, new: bytes
) -> None:
    """Let the checksum of a transport header follow when an address changes. Raises
    IndexError where the header ends before its checksum.
    """
    offsets = {TCP: 16, UDP: 6, **({ICMP6: 2} if len(old) == 16 else {})}
    if protocol not in offsets:
        return
    where = at + offsets[protocol]
    before = number(data, where)
    if protocol == UDP and before == 0:
        return
    adjust(data, where, old, new)
    if protocol == UDP and number(data, where) == 0:
        put(data, where, b"\xff\xff")
