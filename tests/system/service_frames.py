"""Frames about a service address, in every form that the grammar of Ethernet, ARP and
IP has for it, and some that it has not. They are made of bytes, by nothing of ours, so
no error of the agent's is repeated here.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

SERVICES4 = (IPv4Address("169.254.169.254"),)
SERVICES6 = (IPv6Address("fd00:ec2::254"), IPv6Address("fe80::a9fe:a9fe"))
PACKED = tuple(each.packed for each in (*SERVICES4, *SERVICES6))
TAG_TYPES = (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300)
BROADCAST = b"\xff" * 6
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
_NEIGHBOURS = (135, 136, 137)
"""Solicitation, advertisement, redirect: they are about an address."""
_ROUTERS = (133, 134)
_EXTENSIONS = (0, 43, 44, 51, 60, 135, 139, 140)
_DEEP = 8

T = TypeVar("T", IPv4Address, IPv6Address)
Tags = tuple[tuple[int, int], ...]
"""Type and VLAN of each tag of a frame, the outer one first."""
Body = tuple[int, bytes]
"""What a frame has behind its tags: Ethernet type and packet."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What the frames say that they come from; `to` is the MAC address they are for."""

    mac: bytes
    address: IPv4Address
    address6: IPv6Address
    to: bytes = BROADCAST


def mentions(data: bytes) -> bool:
    """Does a service address stand anywhere in these bytes?"""
    return any(each in data for each in PACKED)


def frame(sender: Sender, tags: Tags, body: Body) -> bytes:
    """The bytes on the wire."""
    stack = b"".join(struct.pack("!HH", kind, vlan) for kind, vlan in tags)
    return sender.to + sender.mac + stack + struct.pack("!H", body[0]) + body[1]


def stacks(vlans: tuple[int, ...], *, seed: int, deep: int) -> Iterator[Tags]:
    """All stacks of up to two tags, and so many of three and of four each."""
    one = [(kind, vlan) for kind in TAG_TYPES for vlan in vlans]
    for depth in range(3):
        yield from itertools.product(one, repeat=depth)
    chosen = random.Random(seed)  # noqa: S311 - repeatable, not secret
    for depth in (3, 4):
        for _ in range(deep):
            yield tuple(chosen.choice(one) for _ in range(depth))


def bodies(sender: Sender) -> list[Body]:
    """ARP, IPv4 and IPv6: every form, cut short and with odd lengths too."""
    whole = [*_arp(sender), *_ipv4(sender), *_routes(sender), *_ipv6(sender)]
    cut = [
        (kind, packet[:length])
        for kind, packet in (
            *_plain(sender),
            *itertools.islice(_neighbours(sender), 0, None, 50),
        )
        for length in range(len(packet))
    ]
    longer = [(kind, packet + bytes(n)) for kind, packet in whole[::7] for n in (1, 3)]
    every = dict.fromkeys((*whole, *cut, *longer))
    return [each for each in every if mentions(each[1])]


def _arp(sender: Sender) -> Iterator[Body]:
    others = (sender.address, IPv4Address(0), IPv4Address("10.0.0.1"))
    for service in SERVICES4:
        pairs = [(service, each) for each in (service, *others)]
        pairs += [(each, service) for each in others]
        for operation, (source, target) in itertools.product(range(12), pairs):
            yield ARP, _arp_packet(sender.mac, operation, source, target)
        for sizes in (b"\6\6", b"\x08\4", b"\0\4", b"\6\0", b"\2\4"):
            packet = _arp_packet(sender.mac, 1, sender.address, service)
            yield ARP, packet[:4] + sizes + packet[6:]
        for hardware in (0, 6, 15, 0xFFFF):
            packet = _arp_packet(sender.mac, 2, service, service)
            yield ARP, struct.pack("!H", hardware) + packet[2:]
        yield ARP, _arp_packet(b"\2\0\0\0\0\x77", 1, sender.address, service)


def _arp_packet(
    mac: bytes, operation: int, source: IPv4Address, target: IPv4Address
) -> bytes:
    begin = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
    return begin + mac + source.packed + bytes(6) + target.packed


def _ipv4(sender: Sender) -> Iterator[Body]:
    for source, to in _pairs(
        SERVICES4, (sender.address, *_others4()), IPv4Address("10.0.0.1")
    ):
        for protocol in (*_messages(), 2, 47, 50, 132, 0, 255):
            yield IPV4, ipv4(source, to, protocol, _messages().get(protocol, bytes(8)))
        for fragment in (0x4000, 0x8000, 0x2000, 0x2001, 1, 0x1FFF, 0x3FFF):
            yield (
                IPV4,
                ipv4(source, to, _UDP, _messages()[_UDP] * 2, fragment=fragment),
            )
        for options in (b"\1" * 4, b"\x94\4\0\0", b"\7\x27\4" + bytes(37), b"\0" * 40):
            yield IPV4, ipv4(source, to, _TCP, _messages()[_TCP], options=options)
        for first in (0x05, 0x40, 0x44, 0x4F, 0x55, 0x65, 0xF5):
            packet = ipv4(source, to, _UDP, _messages()[_UDP])
            yield IPV4, bytes((first,)) + packet[1:]
        for total in (0, 19, 20, 21, 27, 29, 1500, 0xFFFF):
            packet = ipv4(source, to, _UDP, _messages()[_UDP])
            yield IPV4, packet[:2] + struct.pack("!H", total) + packet[4:]
        for hops in (0, 1, 255):
            yield IPV4, ipv4(source, to, _UDP, _messages()[_UDP], hops=hops)
        wrong = ipv4(source, to, _TCP, _messages()[_TCP])
        yield IPV4, wrong[:10] + b"\xbe\xef" + wrong[12:]


def _routes(sender: Sender) -> Iterator[Body]:
    """For the guest's gateway, which is to send it on to a service, or its answer."""
    for kind, pointer, before, to in itertools.product(
        (0x83, 0x89), (4, 8), range(4), ("10.0.0.1", "192.0.2.1")
    ):
        option = bytes((kind, 7, pointer)) + SERVICES4[0].packed
        options = b"\1" * before + option + bytes(3 - (before + 6) % 4)
        for protocol in (_UDP, _ICMP):
            message = _messages()[protocol]
            packet = ipv4(
                sender.address, IPv4Address(to), protocol, message, options=options
            )
            yield IPV4, packet


def _others4() -> tuple[IPv4Address, ...]:
    return tuple(
        map(IPv4Address, ("10.0.0.77", "0.0.0.0", "255.255.255.255", "169.254.64.2"))
    )


def _pairs(
    services: tuple[T, ...], own: tuple[T, ...], other: T
) -> Iterator[tuple[T, T]]:
    for service in services:
        yield service, service
        yield service, other
        for each in own:
            yield each, service
            yield service, each


def _messages() -> dict[int, bytes]:
    """By protocol, a message of it."""
    return {
        _TCP: struct.pack("!HHIIHHHH", 40001, 80, 1, 0, 0x5002, 512, 0, 0),
        _UDP: struct.pack("!HHHH", 40001, 80, 9, 0) + b"x",
        _ICMP: struct.pack("!BBHI", 8, 0, 0xF7FF, 0),
        _ICMP6: struct.pack("!BBHI", 128, 0, 0, 1),
    }


def ipv4(
    source: IPv4Address,
    to: IPv4Address,
    protocol: int,
    message: bytes,
    *,
    fragment: int = 0,
    options: bytes = b"",
    hops: int = 64,
) -> bytes:
    """A packet whose header has the right checksum."""
    length = 20 + len(options)
    begin = struct.pack(
        *("!BBHHHBB", 0x40 + length // 4, 0, length + len(message), 7, fragment),
        *(hops, protocol),
    )
    rest = source.packed + to.packed + options
    return begin + _checksum(begin + rest) + rest + message


def _checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", 0xFFFF ^ total)


def _ipv6(sender: Sender) -> Iterator[Body]:
    others = map(IPv6Address, ("fe80::5", "::", "2001:db8::77", "ff02::1"))
    own = (sender.address6, *others)
    for source, to in _pairs(SERVICES6, own, IPv6Address("2001:db8::1")):
        for protocol in (*_messages(), 4, 41, 47, 50, 59, 132, 255):
            yield IPV6, _ipv6_packet(source, to, protocol, _messages().get(protocol))
        for chain in _chains():
            yield IPV6, _extended(source, to, chain)
        for payload in (0, 7, 21, 1500, 0xFFFF):
            packet = _ipv6_packet(source, to, _TCP, None)
            yield IPV6, packet[:4] + struct.pack("!H", payload) + packet[6:]
        for first in (0x00, 0x45, 0x50, 0x6F, 0xF0):
            yield IPV6, bytes((first,)) + _ipv6_packet(source, to, _UDP, None)[1:]
    yield from _neighbours(sender)


def _chains() -> Iterator[tuple[int, ...]]:
    """Extension headers that follow on each other."""
    yield from ((each,) for each in _EXTENSIONS)
    yield from itertools.permutations((0, 44, 60, 43), 2)
    yield from ((60,) * depth for depth in range(3, _DEEP))
    yield (0, 60, 43, 44, 51, 60)


def _extended(source: IPv6Address, to: IPv6Address, chain: tuple[int, ...]) -> bytes:
    protocol, message = _TCP, _messages()[_TCP]
    for kind in reversed(chain):
        fixed = b"\0\0" + bytes(4) if kind == 51 else bytes(6)
        length = 1 if kind == 51 else 0
        fixed += bytes(4 * length)
        if kind == 44:
            length, fixed = 0, struct.pack("!HI", 1, 7)
        protocol, message = kind, bytes((protocol, length)) + fixed + message
    return _ipv6_packet(source, to, protocol, message)


def _ipv6_packet(
    source: IPv6Address,
    to: IPv6Address,
    protocol: int,
    message: bytes | None,
    hops: int = 64,
) -> bytes:
    data = _messages().get(protocol, bytes(8)) if message is None else message
    head = struct.pack("!IHBB", 6 << 28, len(data), protocol, hops)
    return head + source.packed + to.packed + data


def _neighbours(sender: Sender) -> Iterator[Body]:
    """Neighbour discovery about a service, the checksum right, at once and behind other
    headers, in fragments too.
    """
    everybody = IPv6Address("ff02::1")
    for service, kind in itertools.product(SERVICES6, (*_NEIGHBOURS, *_ROUTERS)):
        yield IPV6, _message6(service, everybody, kind, sender.address6, sender.mac)
    for service, kind, source in itertools.product(
        SERVICES6,
        _NEIGHBOURS,
        (sender.address6, IPv6Address("fe80::5"), IPv6Address("::")),
    ):
        for hops, code in ((255, 0), (64, 0), (255, 1)):
            yield (
                IPV6,
                _message6(
                    source, everybody, kind, service, sender.mac, hops=hops, code=code
                ),
            )
        for chain in ((0,), (60,), (44,), (0, 44), (60, 60), (0, 60, 43)):
            yield (
                IPV6,
                _message6(source, everybody, kind, service, sender.mac, chain=chain),
            )


def _message6(
    source: IPv6Address,
    to: IPv6Address,
    kind: int,
    about: IPv6Address,
    mac: bytes,
    *,
    hops: int = 255,
    code: int = 0,
    chain: tuple[int, ...] = (),
) -> bytes:
    through = IPv6Address("fe80::5").packed if kind == 137 else b""
    body = through + about.packed
    body += bytes((1 if kind == 135 else 2, 1)) + mac
    pseudo = source.packed + to.packed + struct.pack("!II", 8 + len(body), _ICMP6)
    head = struct.pack("!BB", kind, code)
    total = _checksum(pseudo + head + bytes(2) + b"\x60\0\0\0" + body)
    protocol, message = _ICMP6, head + total + b"\x60\0\0\0" + body
    for each in reversed(chain):
        fixed = struct.pack("!HI", 0, 7) if each == 44 else bytes(6)
        protocol, message = each, bytes((protocol, 0)) + fixed + message
    return _ipv6_packet(source, to, protocol, message, hops)


def _plain(sender: Sender) -> Iterator[Body]:
    """One of each kind, to be cut short at every byte."""
    service, service6 = SERVICES4[0], SERVICES6[0]
    yield ARP, _arp_packet(sender.mac, 1, sender.address, service)
    yield IPV4, ipv4(sender.address, service, _TCP, _messages()[_TCP])
    yield IPV4, ipv4(service, IPv4Address("10.0.0.1"), _UDP, _messages()[_UDP])
    yield IPV6, _ipv6_packet(sender.address6, service6, _TCP, None)
    yield IPV6, _extended(sender.address6, service6, (0, 44, 60))
