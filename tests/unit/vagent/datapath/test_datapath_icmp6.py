"""What guests are told by ICMPv6, held against scapy."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    UDPerror,
)
from scapy.layers.l2 import Ether

from vagent.datapath.icmp6 import advertisement, port_unreachable, solicited
from vagent.errors import WireError

GUEST, GUEST_MAC, OWN_MAC = "fe80::1", "02:00:00:00:00:01", "02:00:a9:fe:a9:fe"
IDENTITY, TARGET = "fd40:140:2:fffd::1", "fe80::a9fe:a9fe"
SOLICITATION = bytes(
    IPv6(src=IDENTITY, dst="ff02::1:fffe:a9fe", hlim=255)
    / ICMPv6ND_NS(tgt=TARGET)
    / ICMPv6NDOptSrcLLAddr(lladdr=GUEST_MAC)
)
WITHOUT_OPTION = 64
DATAGRAM = bytes(IPv6(src=IDENTITY, dst=TARGET) / UDP(sport=1, dport=53) / b"question")


def test_an_advertisement_is_what_scapy_makes() -> None:
    """Byte for byte, checksum and options included."""
    expected = (
        Ether(src=OWN_MAC, dst=GUEST_MAC)
        / IPv6(src=TARGET, dst=GUEST, hlim=255)
        / ICMPv6ND_NA(tgt=TARGET, R=0, S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=OWN_MAC)
    )
    assert bytes(expected) == advertisement(
        IPv6Address(TARGET),
        guest=IPv6Address(GUEST),
        guest_mac=GUEST_MAC,
        own_mac=OWN_MAC,
    )


def test_who_is_asked_for() -> None:
    """The target; options do not count."""
    assert IPv6Address(TARGET) == solicited(SOLICITATION)
    assert IPv6Address(TARGET) == solicited(SOLICITATION[:WITHOUT_OPTION])


@pytest.mark.parametrize("length", range(41, WITHOUT_OPTION))
def test_a_cut_solicitation_is_refused(length: int) -> None:
    """Length before content."""
    with pytest.raises(WireError):
        solicited(SOLICITATION[:length])


@pytest.mark.parametrize(("where", "value"), [(7, 254), (41, 1)])
def test_a_solicitation_from_afar_is_refused(where: int, value: int) -> None:
    """Hop limit 255 and code 0 (RFC 4861 7.1.1)."""
    data = bytearray(SOLICITATION)
    data[where] = value
    with pytest.raises(WireError, match="hop limit"):
        solicited(bytes(data))


@pytest.mark.parametrize("message", [ICMPv6EchoRequest(), TCP(), UDP()])
def test_other_messages_ask_for_nobody(message: object) -> None:
    """Not an error: they get their own verdict."""
    assert solicited(bytes(IPv6(src=IDENTITY, dst=TARGET) / message)) is None


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    """No input raises anything but WireError."""
    try:
        solicited(b"\x60" + data)
    except WireError:
        return


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
