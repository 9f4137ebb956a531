"""Trapped bytes become a value, or are refused by length."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Raw

from tests.examples import hot
from vagent.errors import WireError
from vagent.kernel.ip_packet import (
    ICMP6,
    MAX_EXTENSIONS,
    OpeningPacket,
    parse,
    payload6,
)

GUEST, SERVICE = "169.254.64.11", "169.254.169.254"
GUEST_INT, SERVICE_INT = 0xA9FE400B, 0xA9FEA9FE
SYN = bytes(IP(src=GUEST, dst=SERVICE) / TCP(sport=40000, dport=80, flags="S"))
PROTOCOL = 9
"""Where an IPv4 header names it."""
HEADERS = 24
"""IPv4 header and the two ports: all that is ever read."""


def test_tcp() -> None:
    """A SYN gives both addresses, the protocol and both ports."""
    assert OpeningPacket(6, GUEST_INT, SERVICE_INT, 40000, 80) == parse(SYN)


def test_udp() -> None:
    """A UDP datagram does, too."""
    data = bytes(IP(src=GUEST, dst=SERVICE) / UDP(sport=5353, dport=53) / b"question")
    assert OpeningPacket(17, GUEST_INT, SERVICE_INT, 5353, 53) == parse(data)


def test_a_protocol_without_ports_has_ports_zero() -> None:
    """ICMP has no ports, whatever its bytes say."""
    data = bytes(IP(src=GUEST, dst=SERVICE) / ICMP())
    assert OpeningPacket(1, GUEST_INT, SERVICE_INT, 0, 0) == parse(data)


def test_options_move_the_ports() -> None:
    """The header's own length says where the ports are."""
    options = [IPOption(b"\x94\x04\x00\x00")]
    data = bytes(IP(src=GUEST, dst=SERVICE, options=options) / TCP(dport=80))
    assert parse(data).destination_port == 80


@pytest.mark.parametrize("length", range(HEADERS))
def test_every_prefix_is_refused(length: int) -> None:
    """Less than the headers is refused, never guessed."""
    with pytest.raises(WireError):
        parse(SYN[:length])


def test_the_headers_are_enough() -> None:
    """The kernel copies only the beginning of a packet; that must do."""
    assert parse(SYN) == parse(SYN[:HEADERS])


def test_a_tail_changes_nothing() -> None:
    """Bytes after the packet (Ethernet padding) are not read."""
    assert parse(SYN) == parse(SYN + b"\xff" * 30)


@pytest.mark.parametrize(
    ("what", "where", "value"),
    [
        ("version 5", 0, 0x55),
        ("header length 16", 0, 0x44),
        ("header length 60 in a 40-byte packet", 0, 0x4F),
        ("fragment offset 8", 7, 0x01),
    ],
)
def test_a_header_that_lies_is_refused(what: str, where: int, value: int) -> None:
    """Version, header length and fragment offset must be possible."""
    data = bytearray(SYN)
    data[where] = value
    with pytest.raises(WireError):
        parse(bytes(data))


def test_a_total_length_below_the_ports_is_refused() -> None:
    """The stated length counts, not only what happens to be there."""
    data = bytearray(SYN)
    data[2:4] = (22).to_bytes(2, "big")
    with pytest.raises(WireError, match="no room for ports: total 22"):
        parse(bytes(data))


@hot
@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    """No input raises anything but WireError."""
    try:
        packet = parse(data)
    except WireError:
        return
    if packet.version == 4:
        assert packet.protocol == Raw(data).load[9]


GUEST6, SERVICE6 = "fd40:140:2::1", "fd00:ec2::254"
IP6 = IPv6(src=GUEST6, dst=SERVICE6)
SYN6 = bytes(IP6 / TCP(sport=40000, dport=80, flags="S"))
OPENING6 = OpeningPacket(
    6, int(IPv6Address(GUEST6)), int(IPv6Address(SERVICE6)), 40000, 80, 6
)
HEADERS6 = 44


@hot
@given(st.binary(max_size=40), st.sampled_from((0, 1, 6, 17)))
def test_a_plain_header_is_read_as_one_with_options(rest: bytes, protocol: int) -> None:
    """The usual kind has a way of its own; both say the same of the same packet."""
    plain = bytearray(b"\x45" + rest)
    if len(plain) > PROTOCOL:
        plain[PROTOCOL] = protocol
    longer = bytes(plain[:20]) + bytes(4) + bytes(plain[20:])
    with_options = bytearray(longer if len(plain) >= 20 else plain)
    with_options[0] = 0x46
    total = int.from_bytes(plain[2:4], "big")
    if len(plain) >= 20 and total < 0xFFFC:
        with_options[2:4] = (total + 4).to_bytes(2, "big")
        assert read(bytes(with_options)) == read(bytes(plain))


def read(data: bytes) -> OpeningPacket | None:
    """What it says, None where it is refused."""
    try:
        return parse(data)
    except WireError:
        return None


def test_tcp_over_ipv6() -> None:
    """The same value, of version 6."""
    assert OPENING6 == parse(SYN6) == parse(SYN6[:HEADERS6])


@pytest.mark.parametrize("length", range(1, HEADERS6))
def test_every_prefix_of_ipv6_is_refused(length: int) -> None:
    """Less than the headers is refused, never guessed."""
    with pytest.raises(WireError):
        parse(SYN6[:length])


def test_extension_headers_are_walked() -> None:
    """The ports are behind them."""
    packet = IP6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting()
    assert OPENING6 == parse(bytes(packet / TCP(sport=40000, dport=80)))


@pytest.mark.parametrize("more", [0, 1])
def test_extension_headers_are_bounded(more: int) -> None:
    """As many as there are kinds, and not one more."""
    packet = IP6
    for _ in range(MAX_EXTENSIONS + more):
        packet = packet / IPv6ExtHdrDestOpt()
    data = bytes(packet / TCP(sport=40000, dport=80))
    if more:
        with pytest.raises(WireError, match="extension headers"):
            parse(data)
    else:
        assert OPENING6 == parse(data)


def test_a_long_extension_header_is_refused() -> None:
    """It says that it ends behind the packet."""
    data = bytearray(bytes(IP6 / IPv6ExtHdrDestOpt() / TCP(dport=80)))
    data[41] = 255
    with pytest.raises(WireError, match="ends at 2088"):
        parse(bytes(data))


@pytest.mark.parametrize("offset", [0, 1])
def test_ipv6_fragments_are_refused(offset: int) -> None:
    """The first one, too."""
    data = bytes(IP6 / IPv6ExtHdrFragment(nh=6, m=1, offset=offset) / TCP(dport=80))
    with pytest.raises(WireError, match="fragment"):
        parse(data)


@hot
@given(st.binary(max_size=120))
def test_arbitrary_ipv6_bytes_are_read_or_refused(data: bytes) -> None:
    """No input raises anything but WireError."""
    try:
        parse(b"\x60" + data)
    except WireError:
        return
    assert len(data) >= 39


def test_a_header_alone_is_enough_where_there_are_no_ports() -> None:
    """To its last byte, of either version."""
    four = bytes(IP(src=GUEST, dst=SERVICE, proto=1, len=20))
    assert OpeningPacket(1, GUEST_INT, SERVICE_INT, 0, 0) == parse(four)
    six = bytes(IPv6(src=GUEST6, dst=SERVICE6, nh=ICMP6))
    addresses = int(IPv6Address(GUEST6)), int(IPv6Address(SERVICE6))
    assert OpeningPacket(ICMP6, *addresses, 0, 0, 6) == parse(six)


def test_ports_may_be_the_last_that_is_there() -> None:
    """Behind options, too."""
    options = [IPOption(b"\x94\x04\x00\x00")]
    header = IP(src=GUEST, dst=SERVICE, options=options, proto=17, len=28)
    data = bytes(header) + bytes.fromhex("9c400050")
    assert 28 == len(data)
    assert OpeningPacket(17, GUEST_INT, SERVICE_INT, 40000, 80) == parse(data)


def test_the_type_of_service_is_not_the_header_length() -> None:
    """Whatever a guest writes there."""
    options = [IPOption(b"\x94\x04\x00\x00")]
    packet = IP(src=GUEST, dst=SERVICE, tos=0x45, options=options)
    assert 80 == parse(bytes(packet / TCP(dport=80))).destination_port


def with_length(packet: IPv6, length: int) -> bytes:
    """The packet with this payload length in its header."""
    data = bytearray(bytes(packet))
    data[4:6] = length.to_bytes(2, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("length", "why"),
    [
        (0, "extension header at 40 cut, here 40"),
        (1, "extension header at 40 cut, here 41"),
        (2, "extension header ends at 48, here 42"),
        (7, "extension header ends at 48, here 47"),
    ],
)
@pytest.mark.parametrize("is_cut", [False, True])
def test_an_extension_header_ends_within_the_packet(
    length: int, why: str, *, is_cut: bool
) -> None:
    """Whether the packet says that it is shorter, or is."""
    packet = IP6 / IPv6ExtHdrDestOpt(nh=59) / Raw(bytes(300))
    data = bytes(packet)[: 40 + length] if is_cut else with_length(packet, length)
    with pytest.raises(WireError, match=why):
        payload6(data)


@pytest.mark.parametrize("length", [8, 9, 0x0108])
def test_an_extension_header_may_be_the_end(length: int) -> None:
    """Or far from it: both bytes of the payload's length count."""
    packet = IP6 / IPv6ExtHdrDestOpt(nh=59) / Raw(bytes(300))
    assert (59, 48) == payload6(with_length(packet, length))


def test_a_long_extension_header_is_walked() -> None:
    """Its length counts eights of bytes behind the first one."""
    data = bytearray(bytes(IP6 / IPv6ExtHdrDestOpt(nh=59) / Raw(bytes(300))))
    data[41] = 31
    assert (59, 40 + 256) == payload6(bytes(data))
