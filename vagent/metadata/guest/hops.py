"""How far away a guest's client is: the TTL of the packet that opened its connection.

The kernel keeps that packet for a listener that asks (tcp(7) does not say so; Linux has
had TCP_SAVE_SYN since 4.2), so nothing is added to the trap. Between a guest's tap and
the listener nothing takes a hop, so what is missing of the TTL was taken behind the
tap: by a guest that routes for a container, say.
"""

from __future__ import annotations

import socket
from typing import Any

_TCP_SAVE_SYN, _TCP_SAVED_SYN = 27, 28  # linux/tcp.h; Python has no names for them
_HEADERS = 128
"""Bytes; IPv4 and TCP headers with all options are 120."""
_INITIAL = (64, 128, 255)
"""What systems begin with: Linux, BSD and macOS; Windows; routers and Solaris."""
_TTL_AT = {4: 8, 6: 7}
"""RFC 791 §3.1, RFC 8200 §3."""


def keep_opening_packets(listener: socket.socket) -> None:
    """Let connections of this listener tell `opening_packet`. Raises OSError."""
    listener.setsockopt(socket.IPPROTO_TCP, _TCP_SAVE_SYN, 1)


def opening_packet(transport: Any) -> bytes:
    """Its IP and TCP headers; b"" if the kernel has none (SYN cookies). Only once."""
    try:
        found = transport.getHandle().getsockopt(
            socket.IPPROTO_TCP, _TCP_SAVED_SYN, _HEADERS
        )
    except OSError:
        return b""  # the connection is gone already
    return bytes(found)


def hops_of(packet: bytes) -> int:
    """Hops that a packet has made, if it began with a usual TTL; 0 if unknown."""
    at = _TTL_AT.get(packet[0] >> 4) if packet else None
    if at is None or len(packet) <= at:
        return 0
    ttl = packet[at]
    return next(initial for initial in _INITIAL if ttl <= initial) - ttl
