"""ICMP errors about refused datagrams: to whom, and how many."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, cast

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.layers.l2 import Dot1Q, Ether
from twisted.internet.task import Clock

from vagent.datapath.state import Attachment, Tag
from vagent.datapath.trap.events import RejectNotSent
from vagent.datapath.trap.icmp_reject import (
    MAX_REJECTS,
    MAX_REJECTS_OF_GUEST,
    IcmpReject,
)
from vagent.errors import KernelError
from vagent.kernel.ip_packet import parse

if TYPE_CHECKING:
    from vagent.datapath.system import System
    from vagent.observe.event import Event

IDENTITY, SERVICE = "169.254.64.2", "169.254.1.53"
REGISTERED6, LINK_LOCAL6 = "fd40:140:2::1", "fd40:140:2:fffd::aa"
DATAGRAM = bytes(IP(src=IDENTITY, dst=SERVICE) / UDP(sport=4000, dport=53))


def datagram6(source: str) -> bytes:
    return bytes(IPv6(src=source, dst="fd00:ec2::254") / UDP(sport=4000, dport=53))


class Bench:
    """A tap that takes frames, or does not."""

    def __init__(self, guest: Attachment) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.frames: list[Any] = []
        self.attachment: Attachment | None = guest
        self.is_gone = False
        self.reject = IcmpReject(
            attachment_of=lambda _: self.attachment,
            system=cast("System", self),
            emit=self.events.append,
            clock=self.clock,
        )

    def send_frame(self, ifindex: int, frame: bytes) -> None:
        assert 11 == ifindex
        if self.is_gone:
            raise KernelError("no such device")
        self.frames.append(Ether(frame))

    def send(self, data: bytes = DATAGRAM, guest: int = 2) -> None:
        self.reject.send(data, parse(data), guest, guest)


@pytest.fixture
def bench(alice: Attachment) -> Bench:
    six = IPv6Address("2001:db8::5")
    return Bench(replace(alice, address6=six, takes_link_local=True))


def test_the_guest_hears_of_its_datagram(bench: Bench) -> None:
    """At its tap, from the service, under the address that it has itself."""
    bench.send()
    (frame,) = bench.frames
    assert (SERVICE, "10.0.0.5") == (frame[IP].src, frame[IP].dst)
    assert (3, 3) == (frame[ICMP].type, frame[ICMP].code)


@pytest.mark.parametrize(
    ("source", "asks_from"), [(REGISTERED6, "2001:db8::5"), (LINK_LOCAL6, "fe80::aa")]
)
def test_an_ipv6_guest_hears_at_the_address_that_asked(
    bench: Bench, source: str, asks_from: str
) -> None:
    """The registered one or its own link-local one, which only the identity tells."""
    bench.send(datagram6(source))
    (frame,) = bench.frames
    assert asks_from == frame[IPv6].dst
    assert 4 == frame[ICMPv6DestUnreach].code


def test_a_tagged_guest_hears_in_its_vlan(bench: Bench) -> None:
    """The VLAN of the frames that it gets."""
    assert bench.attachment is not None
    tag = Tag(sent=100, got=101)
    bench.attachment = replace(bench.attachment, tag=tag)
    bench.send()
    assert [101] == [frame[Dot1Q].vlan for frame in bench.frames]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_an_address_that_the_port_has_lost_hears_nothing(
    bench: Bench, family: int
) -> None:
    """The datagram was queued before that."""
    assert bench.attachment is not None
    bench.attachment = replace(bench.attachment, address=None, address6=None)
    bench.send(DATAGRAM if family == socket.AF_INET else datagram6(REGISTERED6))
    assert [] == bench.frames


def test_what_cannot_be_sent_is_told(bench: Bench) -> None:
    """The tap is gone, or a fragment is not to be answered."""
    bench.is_gone = True
    bench.send()
    fragment = bytearray(DATAGRAM)
    fragment[6] |= 0x20
    bench.send(bytes(fragment))
    assert ["no such device", "the first of several fragments"] == [
        each.detail for each in bench.events if isinstance(each, RejectNotSent)
    ]


def test_nobody_hears_where_the_kernel_serves_no_attachment(bench: Bench) -> None:
    """The tap is not there any more."""
    bench.attachment = None
    bench.send()
    assert [] == bench.frames
    assert [RejectNotSent] == [type(each) for each in bench.events]


def test_each_guest_and_the_host_have_a_limit_for_a_second(bench: Bench) -> None:
    """One that asks without end takes nothing from another."""
    for _ in range(2 * MAX_REJECTS):
        bench.send()
    assert MAX_REJECTS_OF_GUEST == len(bench.frames)
    bench.send(guest=3)
    assert MAX_REJECTS_OF_GUEST + 1 == len(bench.frames)
    for guest in range(3, 20):
        for _ in range(MAX_REJECTS_OF_GUEST):
            bench.send(guest=guest)
    assert MAX_REJECTS == len(bench.frames)
    assert RejectNotSent("too many in this second") in bench.events
    bench.clock.advance(1.0)
    bench.send()
    assert MAX_REJECTS + 1 == len(bench.frames)
