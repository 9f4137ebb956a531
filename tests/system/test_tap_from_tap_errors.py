"""The program at the taps, run by the kernel on single frames: ICMP errors of guests.
scapy computes the checksums of what is expected.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    ICMPv6Unknown,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.system.from_tap_rig import (
    ADDRESS,
    ADDRESS6,
    ADDRESS_LL,
    DROP,
    GUEST_MAC,
    HOST_MAC,
    IDENTITY,
    IDENTITY6,
    IDENTITY_LL,
    OTHER_MAC,
    REDIRECT,
    SERVICE,
    SERVICE6,
    FromTap,
)
from vagent.datapath.tap.layout import DropReason

pytestmark = [pytest.mark.system, pytest.mark.kernel]

GATEWAY_MAC = "02:11:11:11:11:11"
ABOUT_FLOWS = (
    ICMP(type=3, code=1),
    ICMP(type=3, code=4, nexthopmtu=1280),
    ICMP(type=11),
)
ABOUT_FLOWS6 = (
    ICMPv6DestUnreach(code=4),
    ICMPv6PacketTooBig(mtu=1280),
    ICMPv6TimeExceeded(),
)
PLACES = [(ADDRESS6, IDENTITY6), (ADDRESS_LL, IDENTITY_LL)]


@pytest.fixture
def tap() -> Iterator[FromTap]:
    made = FromTap()
    yield made
    made.close()


def quoted(address: str = ADDRESS, **fields: Any) -> bytes:
    """The beginning of a packet of the service to the guest."""
    header = IP(**(dict[str, Any](src=SERVICE, dst=address) | fields))
    return bytes(header / UDP(sport=53, dport=4000, chksum=0x1234) / b"answer")


def quoted6(address: str = ADDRESS6, **fields: Any) -> bytes:
    header = IPv6(**(dict[str, Any](src=SERVICE6, dst=address) | fields))
    return bytes(header / TCP(sport=80, dport=4000, chksum=0x1234))


def error(
    *upper: Packet | bytes, source: str = ADDRESS, mac: str = GUEST_MAC, **fields: Any
) -> Packet:
    """A frame of the guest to the service."""
    frame = Ether(src=mac, dst=GATEWAY_MAC)
    if "." in source:
        frame /= IP(**(dict[str, Any](src=source, dst=SERVICE) | fields))
    else:
        frame /= IPv6(**(dict[str, Any](src=source, dst=SERVICE6) | fields))
    for layer in upper:
        frame = frame / layer
    return frame


def at_host(*upper: Packet | bytes, source: str) -> Packet:
    frame = error(*upper, source=source)
    frame[Ether].dst = HOST_MAC
    return frame


@pytest.mark.parametrize("kind", ABOUT_FLOWS, ids=repr)
@pytest.mark.parametrize("beyond", [8, 13, 100])
def test_an_error_quotes_the_identity(tap: FromTap, kind: Packet, beyond: int) -> None:
    """As if the quoted packet had gone to it; checksums of the message and of the
    quoted header are right, and what else is quoted is as it was.
    """
    length = 20 + beyond
    tap.sends(
        error(kind, quoted()[:length]),
        at_host(kind, quoted(IDENTITY)[:length], source=IDENTITY),
    )


@pytest.mark.parametrize("kind", ABOUT_FLOWS6, ids=repr)
@pytest.mark.parametrize(("address", "identity"), PLACES)
@pytest.mark.parametrize(("quoted_address", "quoted_identity"), PLACES)
@pytest.mark.parametrize("beyond", [8, 13, 100])
def test_an_error_of_ipv6_quotes_the_identity(
    tap: FromTap,
    kind: Packet,
    address: str,
    identity: str,
    quoted_address: str,
    quoted_identity: str,
    beyond: int,
) -> None:
    """Also where the error comes from another address than its flow."""
    length = 40 + beyond
    sent = error(kind, quoted6(quoted_address)[:length], source=address)
    expected = at_host(kind, quoted6(quoted_identity)[:length], source=identity)
    tap.sends(sent, expected)


@pytest.mark.parametrize(
    "frame",
    [
        error(ABOUT_FLOWS[0], quoted("10.0.0.6")),
        error(ABOUT_FLOWS[0], quoted(IDENTITY)),
        error(ABOUT_FLOWS[0], quoted(version=6)),
        error(ABOUT_FLOWS[0], quoted(options=[IPOption(b"\1\1\1\1")])),
        error(ABOUT_FLOWS[0], quoted()[:27]),
        error(ABOUT_FLOWS[0], b""),
        error(b"\3"),
        error(ICMP(type=11), quoted(), options=[IPOption(b"\1\1\1\1")]),
        # Looks like an error in a packet without options, from where that would begin.
        error(
            *(b"\3\1\0\0\x45\0\0\0", quoted(src=ADDRESS)),
            options=[IPOption(b"\3\1\1\1")],
        ),
        error(ABOUT_FLOWS[0], quoted(), flags="MF"),
        error(ICMP(type=4), quoted()),
        error(ICMP(type=5), quoted()),
        error(ICMP(type=12), quoted()),
    ],
    ids=repr,
)
def test_other_errors_are_dropped(tap: FromTap, frame: Packet) -> None:
    """About somebody else's flow, unclear, or about nothing that a service needs."""
    frame[IP].proto = 1
    tap.refuses(frame, DropReason.ICMP_ERROR, ADDRESS)


@pytest.mark.parametrize(
    "upper",
    [
        (ABOUT_FLOWS6[0], quoted6("2001:db8::6")),
        (ABOUT_FLOWS6[0], quoted6(IDENTITY6)),
        (ABOUT_FLOWS6[0], quoted6("fe80:0:0:1::5")),
        (ABOUT_FLOWS6[0], quoted6(version=4)),
        (ABOUT_FLOWS6[0], quoted6()[:47]),
        (ABOUT_FLOWS6[0], b""),
        (ICMPv6ParamProblem(), quoted6()),
        (ICMPv6Unknown(type=100), quoted6()),
        (ICMPv6Unknown(type=0), quoted6()),
        (IPv6ExtHdrFragment(m=1), ABOUT_FLOWS6[0], quoted6()),
        (IPv6ExtHdrFragment(m=0), ABOUT_FLOWS6[0], quoted6()),
    ],
    ids=repr,
)
def test_other_errors_of_ipv6_are_dropped(
    tap: FromTap, upper: tuple[Packet, ...]
) -> None:
    frame = error(*upper, source=ADDRESS6)
    tap.refuses(frame, DropReason.ICMP_ERROR, ADDRESS6)


def test_strangers_errors_are_dropped_as_their_other_packets(tap: FromTap) -> None:
    for frame in (
        error(ABOUT_FLOWS[0], quoted(), mac=OTHER_MAC),
        error(ABOUT_FLOWS6[0], quoted6(), mac=OTHER_MAC, source=ADDRESS6),
        error(ABOUT_FLOWS6[0], quoted6(), mac=OTHER_MAC, source=ADDRESS_LL),
    ):
        tap.refuses(frame, DropReason.SPOOFED)


def test_padding_does_not_complete_a_quote(tap: FromTap) -> None:
    frame = error(ABOUT_FLOWS[0], quoted()[:27])
    tap.refuses(bytes(frame) + bytes(30), DropReason.ICMP_ERROR)
    frame = error(ABOUT_FLOWS6[0], quoted6()[:47], source=ADDRESS6)
    tap.refuses(bytes(frame) + bytes(30), DropReason.ICMP_ERROR)


def test_a_quote_with_a_wrong_checksum_stays_as_wrong(tap: FromTap) -> None:
    """The message's checksum is right all the same."""
    wrong = bytearray(quoted())
    wrong[10] ^= 0x40
    said, after, _ = tap.run(error(ABOUT_FLOWS[0], bytes(wrong)))
    assert said == REDIRECT
    message = bytes(Ether(after)[ICMP])
    assert bytes(ICMP(message[:2] + bytes(2) + message[4:]))[2:4] != message[2:4]
    again = ICMP(message)
    del again.chksum
    assert bytes(again)[2:4] == message[2:4]


def test_what_is_no_error_is_not_looked_into(tap: FromTap) -> None:
    for kind in (ICMP(type=8), ICMP(type=0), ICMP(type=13)):
        upper = (kind, Raw(quoted()))
        tap.sends(error(*upper), at_host(*upper, source=IDENTITY))
    reply = (ICMPv6EchoReply(data=quoted6()),)
    sent, expected = error(*reply, source=ADDRESS6), at_host(*reply, source=IDENTITY6)
    tap.sends(sent, expected)


def test_the_quoted_traffic_class_does_not_matter(tap: FromTap) -> None:
    sent = error(ABOUT_FLOWS6[0], quoted6(tc=0xB8), source=ADDRESS6)
    expected = at_host(ABOUT_FLOWS6[0], quoted6(IDENTITY6, tc=0xB8), source=IDENTITY6)
    tap.sends(sent, expected)


def test_no_checksum_changes_with_link_local_addresses(tap: FromTap) -> None:
    """Not even a wrong one."""
    for checksum in (0, 0xFFFF, 0x1234):
        kind = ICMPv6DestUnreach(code=4, cksum=checksum)
        sent = error(kind, quoted6(ADDRESS_LL), source=ADDRESS_LL)
        tap.sends(sent, at_host(kind, quoted6(IDENTITY_LL), source=IDENTITY_LL))


def test_a_later_fragment_of_an_error_is_carried_as_any_other(tap: FromTap) -> None:
    """It has no header to look at, whatever it begins with."""
    for start in (b"\3\1", b"\5\1"):
        rest = start + bytes(30)
        fields = dict[str, Any](frag=3, proto=1)
        expected = error(rest, source=IDENTITY, **fields)
        expected[Ether].dst = HOST_MAC
        tap.sends(error(rest, **fields), expected)
    later = (IPv6ExtHdrFragment(offset=3, nh=58), b"\1\1" + bytes(30))
    expected = at_host(*later, source=IDENTITY6)
    tap.sends(error(*later, source=ADDRESS6), expected)


def test_a_guest_behind_a_tag_may_report_errors(tap: FromTap) -> None:
    tap.register(vlan=5)
    expected = at_host(ABOUT_FLOWS[0], quoted(IDENTITY), source=IDENTITY)
    said = tap.run_tagged(error(ABOUT_FLOWS[0], quoted()), 5)
    assert said == (REDIRECT, bytes(expected), None)
    assert tap.run_tagged(error(ABOUT_FLOWS[0], quoted()), 6).said == DROP
