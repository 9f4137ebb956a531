"""ICMP port unreachable about a trapped datagram, held against scapy's reading."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, IPOption, UDPerror
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from vagent.errors import WireError
from vagent.kernel.icmp import checksum, port_unreachable, tagged

GUEST = IPv4Address("10.0.0.5")
GUEST_MAC, OWN_MAC = "02:00:00:00:00:01", "02:00:a9:fe:a9:fe"
IDENTITY, SERVICE = "169.254.64.2", "169.254.169.254"


def answer(trapped: bytes) -> Ether:
    frame = port_unreachable(trapped, guest=GUEST, guest_mac=GUEST_MAC, own_mac=OWN_MAC)
    return Ether(frame)


def datagram(payload: bytes = b"question", **ip: Any) -> bytes:
    return bytes(
        IP(src=IDENTITY, dst=SERVICE, **ip) / UDP(sport=4000, dport=53) / payload
    )


@pytest.mark.parametrize("options", [[], [IPOption(b"\x94\x04\x00\x00")]])
def test_the_guest_sees_its_own_datagram_refused(options: list[IPOption]) -> None:
    """Addresses, ports and checksums are those of the guest's own packet."""
    frame = answer(datagram(options=options))
    assert (GUEST_MAC, OWN_MAC) == (frame.dst, frame.src)
    assert (SERVICE, str(GUEST)) == (frame[IP].src, frame[IP].dst)
    assert (3, 3) == (frame[ICMP].type, frame[ICMP].code)
    quoted = frame[IPerror]
    assert (str(GUEST), SERVICE) == (quoted.src, quoted.dst)
    assert (4000, 53) == (frame[UDPerror].sport, frame[UDPerror].dport)


@pytest.mark.parametrize("payload", [b"", b"x", b"question"])
def test_checksums_are_those_that_scapy_computes(payload: bytes) -> None:
    """IP and ICMP, with even and odd lengths, and the quoted header's."""
    frame = answer(datagram(payload))
    given_sums = (frame[IP].chksum, frame[ICMP].chksum, frame[IPerror].chksum)
    again = frame.copy()
    inner = IP(bytes(frame[IPerror]))
    del again[IP].chksum
    del again[ICMP].chksum
    del inner.chksum
    computed = Ether(bytes(again))
    assert given_sums == (
        computed[IP].chksum,
        computed[ICMP].chksum,
        IP(bytes(inner)).chksum,
    )


@pytest.mark.parametrize(
    "trapped",
    [
        bytes(IP(src=IDENTITY, dst=SERVICE) / TCP(dport=80)),
        bytes(IP(src=IDENTITY, dst=SERVICE) / ICMP()),
        datagram(flags="MF"),
        datagram(frag=1),
    ],
    ids=["tcp", "icmp", "first fragment", "later fragment"],
)
def test_nothing_else_is_answered_so(trapped: bytes) -> None:
    """TCP has resets; errors and fragments get no error (RFC 1122 3.2.2)."""
    with pytest.raises(WireError):
        answer(trapped)


@given(st.binary(max_size=128))
def test_arbitrary_bytes_are_answered_or_refused(trapped: bytes) -> None:
    """A trapped packet is a guest's: whatever it holds, nothing else is raised."""
    try:
        answer(trapped)
    except WireError:
        return


def test_a_tagged_guest_gets_a_tagged_frame() -> None:
    """The tag stands where scapy looks for it, and nothing else has moved."""
    frame = port_unreachable(
        datagram(), guest=GUEST, guest_mac=GUEST_MAC, own_mac=OWN_MAC
    )
    seen = Ether(tagged(frame, 100))
    assert (100, GUEST_MAC, OWN_MAC) == (seen[Dot1Q].vlan, seen.dst, seen.src)
    assert bytes(Ether(frame)[IP]) == bytes(seen[IP])


def test_the_whole_frame_is_scapys() -> None:
    """Every field of its headers, those that are zero as well."""
    trapped = datagram(b"question")
    quoted = IP(trapped)
    quoted.src = str(GUEST)
    del quoted.chksum
    expected = (
        Ether(dst=GUEST_MAC, src=OWN_MAC)
        / IP(src=SERVICE, dst=str(GUEST), id=0, ttl=64)
        / ICMP(type=3, code=3)
        / Raw(bytes(quoted)[:28])
    )
    frame = port_unreachable(trapped, guest=GUEST, guest_mac=GUEST_MAC, own_mac=OWN_MAC)
    assert bytes(expected) == frame


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "ffff"),
        (bytes.fromhex("0001f203f4f5f6f7"), "220d"),
        (bytes.fromhex("0001f203f4f5f6"), "2304"),
        (b"\xff", "00ff"),
        (b"\xff\xff" * 40000, "0000"),
    ],
)
def test_the_internet_checksum(data: bytes, expected: str) -> None:
    """The example of RFC 1071 3, also with an odd length; carries are added."""
    assert expected == checksum(data).hex()
