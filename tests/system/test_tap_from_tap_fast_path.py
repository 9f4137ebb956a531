"""The program at the taps, run by the kernel on single frames: the fast path's stage.
A packet that matches an entry goes to the fabric; every other one goes the way that it
goes without the fast path. scapy computes the checksums of what is expected.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.system.from_tap_rig import (
    ADDRESS,
    FAR,
    GUEST_MAC,
    HOST_MAC,
    IDENTITY,
    LOOPBACK,
    OTHER_MAC,
    REDIRECT,
    SERVICE,
    FromTap,
    octets,
)
from vagent.datapath.tap.flow_entry import (
    Count,
    Match,
    Pair,
    Way,
    decode_count,
    decode_match,
    encode_entry,
    encode_match,
)
from vagent.datapath.tap.translate import AGAIN, THRESHOLD

pytestmark = [pytest.mark.system, pytest.mark.kernel]

GATEWAY_MAC = "02:11:11:11:11:11"
ASKED = Pair(IPv4Address(ADDRESS), IPv4Address(SERVICE), 4000, 7)
SENT = Pair(IPv4Address("198.51.100.1"), IPv4Address("198.51.100.10"), 61000, 7777)
NUMBERS = {UDP: 17, TCP: 6}


class Fast:
    """The program with the fast path, and the one without it."""

    def __init__(self) -> None:
        self.tap = FromTap(fast_path=True)
        self.slow = FromTap()
        self.renew(60)

    def renew(self, seconds: int) -> None:
        until = time.monotonic_ns() + seconds * 10**9
        self.tap.maps["lease"].write(bytes(4), struct.pack("=Q", until))

    def enter(self, protocol: int, mtu: int = 1500) -> tuple[bytes, bytes]:
        """Entries for the flow, both ways; their keys."""
        there = encode_match(Match(LOOPBACK, octets(GUEST_MAC), protocol, ASKED))
        back = encode_match(Match(LOOPBACK, bytes(6), protocol, SENT.reversed()))
        way = Way(LOOPBACK, mtu, SENT.destination)
        self.tap.maps["entries"].write(there, encode_entry(ASKED, SENT, way, back))
        answer, told = SENT.reversed(), ASKED.reversed()
        self.tap.maps["entries"].write(back, encode_entry(answer, told, way, there))
        return there, back

    def count(self, key: bytes) -> Count:
        value = self.tap.maps["entries"].read(key)
        assert value is not None
        return decode_count(value)

    def goes_the_usual_way(self, frame: Packet | bytes, segment: int = 0) -> None:
        expected = self.slow.run(frame, segment=segment)
        assert self.tap.run(frame, segment=segment) == expected
        assert self.tap.counted() == self.slow.counted()

    def candidate(self) -> bytes | None:
        return self.tap.maps["candidates"].take()

    def close(self) -> None:
        self.tap.close()
        self.slow.close()


@pytest.fixture
def fast() -> Iterator[Fast]:
    made = Fast()
    yield made
    made.close()


def packet(
    upper: type[Packet] = UDP,
    payload: bytes = b"odd",
    pair: Pair = ASKED,
    transport: dict[str, Any] | None = None,
    mac: str = GUEST_MAC,
    **fields: Any,
) -> Packet:
    header = IP(src=str(pair.source), dst=str(pair.destination), **fields)
    if upper is TCP and transport is None:
        transport = {"flags": "A"}
    ports = {"sport": pair.source_port, "dport": pair.destination_port}
    frame = Ether(src=mac, dst=GATEWAY_MAC) / header
    return frame / upper(**(ports | (transport or {}))) / payload


@pytest.mark.parametrize("payload", [b"", b"odd", b"even", bytes(1000)])
@pytest.mark.parametrize("upper", [UDP, TCP])
def test_a_packet_with_an_entry_is_translated_whole(
    fast: Fast, upper: type[Packet], payload: bytes
) -> None:
    """As if it had been made with the new addresses, bar a hop."""
    key, _ = fast.enter(NUMBERS[upper])
    said, after, _ = fast.tap.run(packet(upper, payload))
    expected = packet(upper, payload, SENT, ttl=63)
    assert (said, after) == (REDIRECT, bytes(expected))
    assert fast.count(key) == Count(1, len(after) - 14, False)
    assert fast.tap.guest().packets == 0


@pytest.mark.parametrize(
    "frame",
    [
        packet(),
        packet(pair=ASKED._replace(source_port=4001)),
        packet(mac=OTHER_MAC),
        packet(pair=ASKED._replace(source=IPv4Address("10.0.0.6"))),
        packet(pair=ASKED._replace(source=IPv4Address(SERVICE))),
        packet(pair=ASKED._replace(destination=IPv4Address(FAR))),
        packet(TCP, transport={"flags": "S"}),
        packet(ttl=1),
        packet(flags="MF"),
        packet(frag=4),
        packet(options=[IPOption(b"\1\1\1\1")]),
        packet(len=2000),
        packet(len=20),
        packet(proto=1),
        bytes(packet())[:40],
    ],
    ids=repr,
)
def test_every_other_packet_goes_the_usual_way(
    fast: Fast, frame: Packet | bytes
) -> None:
    """Served, refused or passed as without the fast path."""
    other = encode_match(
        Match(LOOPBACK, octets(GUEST_MAC), 17, ASKED._replace(source_port=5000))
    )
    way = Way(LOOPBACK, 1500, SENT.destination)
    fast.tap.maps["entries"].write(other, encode_entry(ASKED, SENT, way, other))
    fast.goes_the_usual_way(frame)


@pytest.mark.parametrize("flags", ["S", "FA", "R", "RA"])
def test_what_opens_or_ends_a_connection_closes_both_entries(
    fast: Fast, flags: str
) -> None:
    """It goes the usual way itself, and so does everything after it."""
    keys = fast.enter(6)
    fast.goes_the_usual_way(packet(TCP, transport={"flags": flags}))
    assert all(fast.count(key).is_closed for key in keys)
    fast.goes_the_usual_way(packet(TCP))


def test_what_does_not_fit_the_way_out_goes_the_usual_way(fast: Fast) -> None:
    fast.enter(17, mtu=500)
    fast.goes_the_usual_way(packet(payload=bytes(473)))
    assert fast.tap.run(packet(payload=bytes(472))).frame[30:34] == bytes(
        SENT.destination.packed
    )


@pytest.mark.parametrize(("upper", "longest"), [(TCP, 1448), (UDP, 1472)])
def test_segments_have_to_fit_the_way_out(
    fast: Fast, upper: type[Packet], longest: int
) -> None:
    """Of a packet that is cut into segments later; with all of TCP's options."""
    transport: dict[str, Any] = {}
    if upper is TCP:
        transport = {"flags": "A", "options": [("Timestamp", (1, 2))]}
    frame = packet(upper, bytes(3000), transport=transport)
    fast.enter(NUMBERS[upper])
    fast.goes_the_usual_way(frame, segment=longest + 1)
    said, after, _ = fast.tap.run(frame, segment=longest)
    expected = packet(upper, bytes(3000), SENT, transport, ttl=63)
    assert (said, after) == (REDIRECT, bytes(expected))


def test_a_tcp_header_that_cannot_be_goes_the_usual_way(fast: Fast) -> None:
    fast.enter(6)
    fast.goes_the_usual_way(packet(TCP, transport={"flags": "A", "dataofs": 4}))


def test_no_entry_holds_without_a_lease(fast: Fast) -> None:
    fast.enter(17)
    fast.renew(-1)
    fast.goes_the_usual_way(packet())


def test_a_guest_behind_a_tag_goes_the_usual_way(fast: Fast) -> None:
    fast.enter(17)
    for vlan in (0, 5):
        fast.tap.register(vlan=vlan)
        expected = packet(pair=ASKED._replace(source=IPv4Address(IDENTITY)))
        expected[Ether].dst = HOST_MAC
        assert fast.tap.run_tagged(packet(), vlan) == (REDIRECT, bytes(expected), None)


def test_a_flow_with_many_packets_becomes_a_candidate(fast: Fast) -> None:
    """Once, and again after many more."""

    def send(times: int) -> None:
        for _ in range(times):
            assert fast.tap.run(packet()).said == REDIRECT

    send(THRESHOLD - 1)
    assert fast.candidate() is None
    send(1)
    key = fast.candidate()
    assert key is not None
    assert decode_match(key) == Match(LOOPBACK, octets(GUEST_MAC), 17, ASKED)
    send(AGAIN - 1)
    assert fast.candidate() is None
    send(1)
    assert fast.candidate() == key
    assert fast.tap.guest().packets == THRESHOLD + AGAIN


def test_packets_to_others_are_not_counted(fast: Fast) -> None:
    for _ in range(THRESHOLD):
        fast.tap.run(packet(pair=ASKED._replace(destination=IPv4Address(FAR))))
    assert fast.candidate() is None
