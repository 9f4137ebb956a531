"""The program at the taps, run by the kernel on single frames (BPF_PROG_TEST_RUN):
options of IPv4 packets that are for others and name a service.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether

from tests.system.from_tap_rig import (
    ADDRESS,
    DROP,
    FAR,
    GUEST_MAC,
    HOST_MAC,
    PASS,
    SERVICE,
    FromTap,
)
from tests.system.service_frames import ipv4
from vagent.datapath.tap.layout import DropReason

pytestmark = [pytest.mark.system, pytest.mark.kernel]

NAMED = IPv4Address(SERVICE).packed
NEAR_MISS = IPv4Address("169.254.169.253").packed
LOOSE, STRICT, STAMPS = 0x83, 0x89, 0x44
ROOM = 40


@pytest.fixture
def tap() -> Iterator[FromTap]:
    made = FromTap()
    yield made
    made.close()


def with_options(options: bytes, tags: bytes = b"") -> bytes:
    """A frame to somebody else with these options, filled up to whole words."""
    filled = options + bytes(-len(options) % 4)
    message = bytes(UDP(len=12, chksum=0)) + NAMED
    packet = ipv4(IPv4Address(ADDRESS), IPv4Address(FAR), 17, message, options=filled)
    frame = bytes(Ether(src=GUEST_MAC, dst=HOST_MAC, type=0x0800)) + packet
    return frame[:12] + tags + frame[12:]


@pytest.mark.parametrize("kind", [LOOSE, STRICT, STAMPS, 0x5E])
@pytest.mark.parametrize("pointer", [4, 8])
def test_a_route_by_a_service_is_refused(tap: FromTap, kind: int, pointer: int) -> None:
    """Ahead, or behind: the host's answer would take the same way back."""
    frame = with_options(bytes((kind, 7, pointer)) + NAMED)
    tap.refuses(frame, DropReason.EXTENSION_HEADER, ADDRESS)


@pytest.mark.parametrize("at", range(ROOM - 3))
def test_wherever_it_stands(tap: FromTap, at: int) -> None:
    tap.refuses(with_options(b"\1" * at + NAMED), DropReason.EXTENSION_HEADER)


@pytest.mark.parametrize("tag", [0x8100, 0x9100])
def test_behind_a_tag_in_the_frame_too(tap: FromTap, tag: int) -> None:
    """The kernel takes tags of VLAN 0 off, and would route what they carry."""
    inner = struct.pack("!HH", tag, 0)
    frame = with_options(b"\x83\7\4" + NAMED, tags=inner)
    if tag == 0x8100:  # the kernel keeps the first one of these beside the frame
        assert tap.run_tagged(frame, 0).said == DROP
    else:
        tap.refuses(frame, DropReason.EXTENSION_HEADER)


@pytest.mark.parametrize("tags", [b"", b"\x91\0\0\0"])
@pytest.mark.parametrize(
    "options",
    [b"\x94\4\0\0", b"\x83\7\4" + NEAR_MISS, b"\x83\x27\4" + NEAR_MISS * 9, b"\1" * 40],
    ids=len,
)
def test_options_without_a_service_pass(
    tap: FromTap, options: bytes, tags: bytes
) -> None:
    """What follows the header is no option, whatever it holds."""
    tap.passes(with_options(options, tags))


@pytest.mark.parametrize("tags", [b"", b"\x91\0\0\0"])
def test_a_header_that_is_cut_concerns_nobody(tap: FromTap, tags: bytes) -> None:
    """No machine takes such a packet."""
    frame = with_options(b"\x83\7\4" + NAMED + b"\1" * 20, tags)
    length = len(tags) + 14 + 20 + 16
    said, after, _ = tap.run_cut(frame, length)
    assert (said, after) == (PASS, frame[:length])
