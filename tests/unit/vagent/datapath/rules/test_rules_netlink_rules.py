"""Rules that nft cannot write: translation of ICMP errors, and the queue rule."""

from __future__ import annotations

import socket
import struct

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.packet import Packet

from vagent.datapath.names import Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.netlink_rules import netlink_rules
from vagent.kernel.nf_tables import IPV4, IPV6, NETDEV, NftMessage

WITH_IPV6 = Features(nft_queue=True, ip6_tables=True, ipv6=True)
IDENTITY, GUEST, SERVICE = "169.254.64.2", "10.0.0.5", "169.254.1.7"
IDENTITY6, GUEST6, SERVICE6 = "fd40:140:2::1", "2001:db8::5", "fd00:5e::7"
INTO, OFFSET, LENGTH, CHECKSUM = 1, 3, 4, 7


def attributes(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        length, kind = struct.unpack_from("=HH", data)
        found.append((kind & 0x7FFF, data[4:length]))
        data = data[length + 3 & ~3 :]
    return found


def payloads(step: NftMessage) -> tuple[dict[int, int], ...]:
    """The attributes of the rule's payload expressions."""
    listed = dict(attributes(step.payload))[4]
    expressions = [dict(attributes(each)) for _, each in attributes(listed)]
    return tuple(
        {kind: int.from_bytes(value, "big") for kind, value in attributes(each[2])}
        for each in expressions
        if each[1] == b"payload\0"
    )


def run(step: NftMessage, packet: Packet, header: int) -> Packet:
    """What the kernel would make of a packet whose ICMP header begins there."""
    load, store = payloads(step)
    data, length = bytearray(bytes(packet)), load[LENGTH]
    at = header + store[OFFSET]
    new = data[load[OFFSET] :][:length]
    place = header + store[CHECKSUM]
    total = ~int.from_bytes(data[place : place + 2], "big") & 0xFFFF
    for sign, part in ((-1, data[at : at + length]), (1, new)):
        total += sign * sum(struct.unpack(f"!{length // 2}H", part))
    data[at : at + length] = new
    data[place : place + 2] = (~(total % 0xFFFF) & 0xFFFF).to_bytes(2, "big")
    return packet.__class__(bytes(data))


def is_sound(packet: Packet) -> bool:
    """Are the checksums of all headers but the innermost as they should be?"""
    copy = packet.copy()
    if IP in copy:
        del copy.chksum, copy[ICMP].chksum, copy[ICMP].payload.chksum
    else:
        del copy[ICMPv6DestUnreach].cksum
    return bytes(copy) == bytes(packet)


CASES = [
    (
        IP(src=SERVICE, dst=GUEST)
        / ICMP(type=3, code=4)
        / IP(src=IDENTITY, dst=SERVICE, id=4711)
        / UDP(sport=5000, dport=7, chksum=1),
        20,
    ),
    (
        IPv6(src=SERVICE6, dst=GUEST6)
        / ICMPv6DestUnreach(code=4)
        / IPv6(src=IDENTITY6, dst=SERVICE6)
        / UDP(sport=5000, dport=7, chksum=1),
        40,
    ),
]


@pytest.mark.parametrize(("packet", "header"), CASES, ids=["ipv4", "ipv6"])
def test_to_a_guest(names: Names, packet: Packet, header: int) -> None:
    """What it quotes is from the guest, and every sum is right."""
    to_guest = netlink_rules(names, WITH_IPV6)[0 if header == 20 else 2]
    assert NETDEV == to_guest.family
    after = run(to_guest, packet.__class__(bytes(packet)), header)
    assert after.dst == after.payload.payload.src
    assert is_sound(after)


@pytest.mark.parametrize(("packet", "header"), CASES, ids=["ipv4", "ipv6"])
def test_from_a_guest(names: Names, packet: Packet, header: int) -> None:
    """What it quotes is to the guest itself, whatever it said."""
    from_guest = netlink_rules(names, WITH_IPV6)[1 if header == 20 else 3]
    assert from_guest.family == (IPV4 if header == 20 else IPV6)
    after = run(from_guest, packet.__class__(bytes(packet)), header)
    assert after.src == after.payload.payload.dst
    assert is_sound(after)
    assert b"immediate\0" in from_guest.payload


def test_without_ipv6_there_is_none_of_it(names: Names) -> None:
    """Its chains are not there."""
    steps = netlink_rules(names, Features(nft_queue=True))
    assert [("rule of quoted",), ("rule of error_from_vm",)] == [
        step.about for step in steps
    ]
    assert socket.AF_INET6 not in {step.family for step in steps}


@pytest.mark.parametrize("ipv6", [False, True])
def test_without_nft_queue_each_family_gets_the_xt_rule(
    names: Names, *, ipv6: bool
) -> None:
    """Into the closed chain of each family's own table, all with one queue."""
    steps = netlink_rules(names, Features(nft_queue=False, ipv6=ipv6))
    queueing = [step for step in steps if ("rule of to_agent",) == step.about]
    assert [IPV4, IPV6][: 1 + ipv6] == [step.family for step in queueing]
    for step in queueing:
        assert struct.pack("=HHH", names.queue_number, 1, 0) in step.payload
