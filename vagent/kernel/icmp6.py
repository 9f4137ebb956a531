"""ICMPv6 port unreachable about a refused datagram, as the guest must see it.

For IPv6 what `icmp` is for IPv4, whose docstring says why the agent makes it. As it
goes straight to the tap, it needs no neighbour table, route or address of the host.
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

from vagent.errors import WireError
from vagent.kernel.icmp import checksum, mac_bytes
from vagent.kernel.ip_packet import HEADER6, ICMP6, UDP, payload6

ETHERTYPE_IPV6 = 0x86DD
QUOTED_PAYLOAD = 8
"""Bytes quoted behind the headers: the ports are in them."""
_ETHERNET = struct.Struct("!6s6sH")
_IPV6 = struct.Struct("!IHBB16s16s")
_MESSAGE = struct.Struct("!BBHI")
_PSEUDO = struct.Struct("!16s16sII")
_VERSION = 6 << 28
_HOP_LIMIT = 64
_UNREACHABLE, _PORT_UNREACHABLE = 1, 4


def port_unreachable(
    trapped: bytes, *, guest: IPv6Address, guest_mac: str, own_mac: str
) -> bytes:
    """The Ethernet frame to send into the guest's tap about a trapped UDP datagram,
    which it quotes with the guest's own address.

    Raises WireError for any other packet (RFC 4443 2.4 forbids errors about errors).
    """
    protocol, offset = payload6(trapped)
    if protocol != UDP:
        raise WireError(f"protocol {protocol}, only UDP is answered so")
    quoted = bytearray(trapped[: offset + QUOTED_PAYLOAD])
    quoted[8:24] = guest.packed
    message = _MESSAGE.pack(_UNREACHABLE, _PORT_UNREACHABLE, 0, 0) + quoted
    service = IPv6Address(trapped[24:HEADER6])
    return _frame(_packet(message, service, guest), guest_mac, own_mac)


def _packet(message: bytes, source: IPv6Address, destination: IPv6Address) -> bytes:
    pseudo = _PSEUDO.pack(source.packed, destination.packed, len(message), ICMP6)
    body = bytearray(message)
    body[2:4] = checksum(pseudo + message)
    header = _IPV6.pack(
        *(_VERSION, len(message), ICMP6, _HOP_LIMIT),
        *(source.packed, destination.packed),
    )
    return header + bytes(body)


def _frame(packet: bytes, guest_mac: str, own_mac: str) -> bytes:
    ethernet = _ETHERNET.pack(mac_bytes(guest_mac), mac_bytes(own_mac), ETHERTYPE_IPV6)
    return ethernet + packet
