"""The bytes of a trapped packet become a value. Length before content; no I/O."""

from __future__ import annotations

import struct
from typing import NamedTuple

from vagent.errors import WireError

TCP = 6
UDP = 17
ICMP6 = 58

MIN_HEADER = 20
"""Bytes of an IPv4 header without options (RFC 791)."""
_HEADER = struct.Struct("!BxHxxHxBxxII")
_PORTS = struct.Struct("!HH")
_PLAIN = struct.Struct("!xxHxxHxBxxIIHH")
"""A header without options and the ports behind it, as nearly every packet has."""
_PLAIN_FIRST = 0x45
HEADER6 = 40
"""Bytes of an IPv6 header (RFC 8200 3)."""
MAX_EXTENSIONS = 4
"""Extension headers that are walked: each of those that are, once (RFC 8200 4.1)."""
_HEADER6 = struct.Struct("!BxxxHBx16s16s")
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _OPTIONS = 0, 43, 44, 60
_OFFSET = 0x1FFF
"""Fragment offset bits of the third 16-bit word (RFC 791)."""


class OpeningPacket(NamedTuple):
    """What identifies the flow that a packet opens. Addresses are integers: this value
    is made for every trapped packet. Ports are 0 where the protocol has none.
    """

    protocol: int
    source: int
    destination: int
    source_port: int
    destination_port: int
    version: int = 4


def parse(data: bytes) -> OpeningPacket:
    """Read an IP packet of which at least the headers are here.

    Raises WireError when a length does not hold. Fragments other than the first never
    come here: conntrack reassembles before the trap.
    """
    if len(data) >= _PLAIN.size and data[0] == _PLAIN_FIRST:
        # In one step; what does not fit is looked at again below, and explained.
        total, fragment, protocol, source, destination, source_port, port = (
            _PLAIN.unpack_from(data)
        )
        has_ports = protocol in (TCP, UDP)
        if has_ports and total >= _PLAIN.size and not fragment & _OFFSET:
            return OpeningPacket(protocol, source, destination, source_port, port)
    if data and data[0] >> 4 == 6:
        return _parse6(data)
    return _parse4(data)


def _parse4(data: bytes) -> OpeningPacket:
    if len(data) < MIN_HEADER:
        raise WireError(f"IPv4 packet of {len(data)} bytes, header has {MIN_HEADER}")
    version, total, fragment, protocol, source, destination = _HEADER.unpack_from(data)
    header_length = (version & 0x0F) * 4
    if version >> 4 != 4:
        raise WireError(f"IP version {version >> 4}, expected 4 or 6")
    if not MIN_HEADER <= header_length <= min(total, len(data)):
        raise WireError(
            f"IPv4 header length {header_length}, total {total}, here {len(data)}"
        )
    if fragment & _OFFSET:
        raise WireError(f"fragment at offset {(fragment & _OFFSET) * 8}")
    if protocol not in (TCP, UDP):
        return OpeningPacket(protocol, source, destination, 0, 0)
    if min(total, len(data)) < header_length + _PORTS.size:
        raise WireError(f"no room for ports: total {total}, here {len(data)}")
    source_port, destination_port = _PORTS.unpack_from(data, header_length)
    return OpeningPacket(protocol, source, destination, source_port, destination_port)


def payload6(data: bytes) -> tuple[int, int]:
    """The protocol that an IPv6 packet carries behind its extension headers, and where
    it begins. Raises WireError for fragments and where a length does not hold.
    """
    if len(data) < HEADER6:
        raise WireError(f"IPv6 packet of {len(data)} bytes, header has {HEADER6}")
    here = min(len(data), HEADER6 + int.from_bytes(data[4:6], "big"))
    protocol, offset = data[6], HEADER6
    for _ in range(MAX_EXTENSIONS + 1):
        if protocol == _FRAGMENT:
            raise WireError("IPv6 fragment")
        if protocol not in (_HOP_BY_HOP, _ROUTING, _OPTIONS):
            return protocol, offset
        if here < offset + 2:
            raise WireError(f"extension header at {offset} cut, here {here}")
        protocol, offset = data[offset], offset + (data[offset + 1] + 1) * 8
        if offset > here:
            raise WireError(f"extension header ends at {offset}, here {here}")
    raise WireError(f"more than {MAX_EXTENSIONS} extension headers")


def _parse6(data: bytes) -> OpeningPacket:
    protocol, offset = payload6(data)
    _, length, _, source, destination = _HEADER6.unpack_from(data)
    source, destination = int.from_bytes(source), int.from_bytes(destination)
    if protocol not in (TCP, UDP):
        return OpeningPacket(protocol, source, destination, 0, 0, 6)
    if min(HEADER6 + length, len(data)) < offset + _PORTS.size:
        raise WireError(f"no room for ports: payload {length}, here {len(data)}")
    source_port, destination_port = _PORTS.unpack_from(data, offset)
    return OpeningPacket(
        protocol, source, destination, source_port, destination_port, 6
    )
