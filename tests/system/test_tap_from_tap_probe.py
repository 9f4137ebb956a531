"""A probe's frames at a tap, run by the kernel (BPF_PROG_TEST_RUN): they get what the
guest would get, with the probe's identity, and nothing is counted for the guest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from tests.system.from_tap_rig import (
    ADDRESS,
    CUSTOMER,
    DROP,
    FAR,
    GUEST_MAC,
    HOST_MAC,
    LOOPBACK,
    OTHER_MAC,
    PROVIDER,
    REDIRECT,
    SERVICE,
    FromTap,
    telling_tag,
)
from tests.system.tap_run import run
from tests.system.test_tap_from_tap import at_host, question, reply, to_service
from vagent.datapath.tap import layout
from vagent.datapath.tap.layout import NOT_FOR_SERVICE, DropReason, GuestFlag, TapProbe
from vagent.datapath.tap.probe_up import ProbePath, probe_up
from vagent.kernel import bpf

pytestmark = [pytest.mark.system, pytest.mark.kernel]

MARK, IDENTITY = 0x1234567, "169.254.99.9"
KEY = layout.encode_number(MARK)


@pytest.fixture
def tap() -> Iterator[FromTap]:
    made = FromTap()
    probe = TapProbe(IPv4Address(IDENTITY), LOOPBACK)
    made.maps["probe"].write(KEY, layout.encode_probe(probe))
    yield made
    made.close()


def outcome(tap: FromTap) -> tuple[int, int, int]:
    """Accepted, answered, refused; and nothing of it was counted for the guest."""
    guest = tap.guest()
    assert ({}, 0, 0) == (tap.counted(), guest.packets, guest.last)
    assert guest.last_address is None
    assert [] == tap.news()
    assert [] == list(tap.maps["refused"].elements())
    value = tap.maps["probe"].read(KEY)
    assert value is not None
    return layout.decode_probe(value)[2:]


@pytest.mark.parametrize("upper", [TCP(dport=80), UDP(dport=53) / b"odd"], ids=repr)
def test_a_packet_gets_the_probes_identity(tap: FromTap, upper: Packet) -> None:
    """And loses its mark, as a guest's would."""
    done = tap.run(to_service(upper), mark=MARK)
    assert done == (REDIRECT, bytes(at_host(upper, src=IDENTITY)), 0)
    assert outcome(tap) == (1, 0, 0)


def test_arp_is_answered(tap: FromTap) -> None:
    assert tap.run(question(), mark=MARK)[:2] == (REDIRECT, bytes(reply()))
    assert outcome(tap) == (0, 1, 0)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (to_service(TCP(), mac=OTHER_MAC), DropReason.SPOOFED),
        (to_service(TCP(), src="10.0.0.6"), DropReason.SPOOFED),
        (to_service(TCP(), src=SERVICE), DropReason.CLAIMED),
        (question(hwsrc=OTHER_MAC), DropReason.SPOOFED),
        (to_service(TCP(), dst=FAR), NOT_FOR_SERVICE),
        (question(pdst=FAR), NOT_FOR_SERVICE),
    ],
    ids=repr,
)
def test_what_is_refused(tap: FromTap, frame: Packet, reason: int) -> None:
    """Is dropped with the reason; what is for no service goes nowhere, either."""
    assert tap.run(frame, mark=MARK).said == DROP
    assert outcome(tap) == (0, 0, reason)


def test_a_learning_port_learns_nothing_of_it(tap: FromTap) -> None:
    tap.register(flags=GuestFlag.LEARNS)
    assert tap.run(question(psrc="10.0.0.6"), mark=MARK).said == REDIRECT
    assert outcome(tap) == (0, 1, 0)
    frame = to_service(TCP(), src="10.0.0.6")
    assert tap.run(frame, mark=MARK).said == DROP
    assert outcome(tap) == (0, 1, DropReason.UNLEARNED)


@pytest.mark.parametrize("mark", [0, 1, MARK + 1])
def test_other_marks_are_nobodys(tap: FromTap, mark: int) -> None:
    """The guest is served and counted."""
    assert tap.run(to_service(TCP()), mark=mark)[:2] == (
        REDIRECT,
        bytes(at_host(TCP())),
    )
    assert tap.guest().packets == 1


@pytest.mark.parametrize(
    ("vlan", "is_service_tag", "tag"),
    [(0, False, None), (7, False, CUSTOMER), (7, True, PROVIDER), (0, True, PROVIDER)],
)
@pytest.mark.parametrize(
    ("frame", "goes_on"),
    [
        (to_service(TCP()), True),
        (to_service(TCP(), dst=FAR), False),
        (to_service(TCP(), dst="169.254.168.254"), False),
        (to_service(TCP(), dst="169.253.169.254"), False),
        (question(), True),
        (question(pdst=FAR), False),
        (Ether(src=GUEST_MAC, dst=HOST_MAC, type=0x88CC) / bytes(60), False),
        (Ether(src=GUEST_MAC, dst=HOST_MAC) / IP(src=ADDRESS) / b"", False),
        (Ether(src=GUEST_MAC, type=0x0806) / bytes(ARP())[:20], False),
    ],
    ids=repr,
)
def test_what_a_probe_sends_into_a_tap(
    vlan: int, is_service_tag: bool, tag: int | None, frame: Packet, goes_on: bool
) -> None:
    """What is for the service, with mark and tag; nothing else leaves the probe."""
    path = ProbePath(LOOPBACK, MARK, IPv4Address(SERVICE), vlan, is_service_tag)
    text = probe_up(path)
    plain, telling = bpf.load(text), bpf.load(telling_tag(text))
    try:
        said, after, mark = run(plain, bytes(frame))
        _, _, told = run(telling, bytes(frame))
    finally:
        os.close(plain)
        os.close(telling)
    if not goes_on:
        assert said == DROP
        return
    assert (said, mark) == (REDIRECT, MARK)
    assert after == bytes(frame)
    assert told == (MARK if tag is None else 0x10000 | vlan)
