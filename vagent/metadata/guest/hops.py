"""How many hops away a client is, by the TTL of the packet that opened its connection.

The kernel keeps the headers of that packet if the listener asks for it (TCP_SAVE_SYN,
since Linux 4.2; tcp(7) does not mention it). Between a guest's tap and the listener the
TTL is not changed, so hops are those inside the guest: it may route for a container.
"""

from __future__ import annotations

import socket
from typing import Any

_TCP_SAVE_SYN, _TCP_SAVED_SYN = 27, 28  # linux/tcp.h; Python has no names for them
_HEADERS = 128
"""Bytes to read; IPv4 and TCP headers with all options have 120."""
_INITIAL = (64, 128, 255)
"""The TTLs that systems begin with: Linux, BSD, macOS; Windows; routers, Solaris."""
_TTL_AT = {4: 8, 6: 7}
"""Offset of the TTL or hop limit, by IP version (RFC 791 §3.1, RFC 8200 §3)."""


def keep_opening_packets(listener: socket.socket) -> None:
    """Make `opening_packet` work for connections of this listener. Raises OSError."""
    listener.setsockopt(socket.IPPROTO_TCP, _TCP_SAVE_SYN, 1)


def opening_packet(transport: Any) -> bytes:
    """Its IP and TCP headers; b"" if the kernel has none (SYN cookies).

    The kernel gives them only once.
    """
    try:
        found = transport.getHandle().getsockopt(
            socket.IPPROTO_TCP, _TCP_SAVED_SYN, _HEADERS
        )
    except OSError:
        return b""  # the connection is gone already
    return bytes(found)


def hops_of(packet: bytes) -> int:
    """Hops that a packet has made, if it began with a usual TTL; 0 if not known."""
    at = _TTL_AT.get(packet[0] >> 4) if packet else None
    if at is None or len(packet) <= at:
        return 0
    ttl = packet[at]
    return next(initial for initial in _INITIAL if ttl <= initial) - ttl
