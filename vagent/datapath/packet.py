"""The bytes of a trapped packet become a value. Length before content; no I/O."""

from __future__ import annotations

import struct
from typing import NamedTuple

from vagent.errors import WireError

TCP = 6
UDP = 17

MIN_HEADER = 20
"""Bytes of an IPv4 header without options (RFC 791)."""
_HEADER = struct.Struct("!BxHxxHxBxxII")
_PORTS = struct.Struct("!HH")
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


def parse(data: bytes) -> OpeningPacket:
    """Read an IPv4 packet of which at least the headers are here.

    Raises WireError when a length does not hold. Fragments other than the first never
    come here: conntrack reassembles before the trap.
    """
    if len(data) < MIN_HEADER:
        raise WireError(f"IPv4 packet of {len(data)} bytes, header has {MIN_HEADER}")
    version, total, fragment, protocol, source, destination = _HEADER.unpack_from(data)
    header_length = (version & 0x0F) * 4
    if version >> 4 != 4:
        raise WireError(f"IP version {version >> 4}, expected 4")
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
