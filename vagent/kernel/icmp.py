"""ICMP port unreachable about a refused datagram, as the guest must see it.

A rule could reject the datagram, but an ICMP error quotes the packet that it is about,
and above the tap that packet has the identity as its source. So the error is made here,
and quotes the guest's own address. (The kernel resets TCP: a reset quotes nothing.)

Made with struct, not with scapy: importing scapy takes 0.9 s and 44 MiB, and a guest
decides when the first of these is needed. The tests hold the bytes against scapy's.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from vagent.errors import WireError
from vagent.kernel.ip_packet import MIN_HEADER, UDP, parse

QUOTED_PAYLOAD = 8
"""Bytes quoted behind the IP header (RFC 792): the ports are in them."""
_ETHERNET = struct.Struct("!6s6sH")
_IPV4 = struct.Struct("!BBHHHBBHII")
_ICMP = struct.Struct("!BBHI")
_ADDRESSES = 12
"""Bytes of an Ethernet frame before its tag or type."""
_TAG = struct.Struct("!HH")
_ETHERTYPE_IPV4, _ETHERTYPE_VLAN = 0x0800, 0x8100
_DESTINATION_UNREACHABLE, _PORT_UNREACHABLE = 3, 3
_PROTOCOL_ICMP = 1
_TTL = 64
_MORE_FRAGMENTS = 0x2000


def port_unreachable(
    trapped: bytes, *, guest: IPv4Address, guest_mac: str, own_mac: str
) -> bytes:
    """The Ethernet frame to send into the guest's tap about a trapped packet.

    Raises WireError where the packet is not a whole UDP datagram: others are not
    answered by an ICMP error (RFC 1122 3.2.2 forbids errors about fragments and about
    errors).
    """
    packet = parse(trapped)
    header_length = (trapped[0] & 0x0F) * 4
    if packet.version != 4:
        raise WireError(f"IP version {packet.version}, expected 4")
    if packet.protocol != UDP:
        raise WireError(f"protocol {packet.protocol}, only UDP is answered so")
    if int.from_bytes(trapped[6:8], "big") & _MORE_FRAGMENTS:
        raise WireError("the first of several fragments")
    quoted = bytearray(trapped[: header_length + QUOTED_PAYLOAD])
    quoted[12:16] = guest.packed
    quoted[10:12] = b"\0\0"
    quoted[10:12] = checksum(quoted[:header_length])
    icmp = bytearray(
        _ICMP.pack(_DESTINATION_UNREACHABLE, _PORT_UNREACHABLE, 0, 0) + quoted
    )
    icmp[2:4] = checksum(icmp)
    header = bytearray(
        _IPV4.pack(
            *(0x45, 0, MIN_HEADER + len(icmp), 0, 0, _TTL, _PROTOCOL_ICMP, 0),
            *(packet.destination, int(guest)),
        )
    )
    header[10:12] = checksum(header)
    ethernet = _ETHERNET.pack(mac_bytes(guest_mac), mac_bytes(own_mac), _ETHERTYPE_IPV4)
    return ethernet + bytes(header) + bytes(icmp)


def tagged(frame: bytes, vlan: int) -> bytes:
    """The Ethernet frame with a VLAN tag added (IEEE 802.1Q 9.6)."""
    return frame[:_ADDRESSES] + _TAG.pack(_ETHERTYPE_VLAN, vlan) + frame[_ADDRESSES:]


def checksum(data: bytes | bytearray) -> bytes:
    """The Internet checksum (RFC 1071)."""
    padded = bytes(data) + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF).to_bytes(2, "big")


def mac_bytes(text: str) -> bytes:
    """A MAC address as bytes."""
    return bytes.fromhex(text.replace(":", ""))
