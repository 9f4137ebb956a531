"""What guests are told by ICMPv6, held against scapy."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from scapy.layers.inet import UDP, UDPerror
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    IPv6,
)
from scapy.layers.l2 import Ether

from vagent.errors import WireError
from vagent.kernel.icmp6 import port_unreachable

GUEST, GUEST_MAC, OWN_MAC = "fe80::1", "02:00:00:00:00:01", "02:00:a9:fe:a9:fe"
IDENTITY, TARGET = "fd40:140:2:fffd::1", "fe80::a9fe:a9fe"
DATAGRAM = bytes(IPv6(src=IDENTITY, dst=TARGET) / UDP(sport=1, dport=53) / b"question")


def test_port_unreachable_quotes_the_guests_own_packet() -> None:
    """From the service to the guest, with a right checksum."""
    frame = Ether(
        port_unreachable(
            DATAGRAM,
            guest=IPv6Address(GUEST),
            guest_mac=GUEST_MAC,
            own_mac=OWN_MAC,
        )
    )
    told = frame[ICMPv6DestUnreach]
    assert (TARGET, GUEST, 4) == (frame[IPv6].src, frame[IPv6].dst, told.code)
    assert 0 == told.unused
    quoted = told.payload
    assert (GUEST, TARGET) == (quoted.src, quoted.dst)
    assert (1, 53) == (quoted[UDPerror].sport, quoted[UDPerror].dport)
    again = Ether(bytes(frame))
    del again[ICMPv6DestUnreach].cksum
    assert bytes(frame) == bytes(again)


def test_only_udp_is_answered_with_unreachable() -> None:
    """No errors about errors."""
    data = bytes(IPv6(src=IDENTITY, dst=TARGET) / ICMPv6DestUnreach())
    with pytest.raises(WireError, match="only UDP"):
        port_unreachable(
            data, guest=IPv6Address(GUEST), guest_mac=GUEST_MAC, own_mac=OWN_MAC
        )
