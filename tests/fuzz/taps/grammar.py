"""Makes worlds and frames of the words that matter to the programs at the taps.

Each choice is made by one generator of random numbers, so a seed says all of it.
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from tests.fuzz.taps.kernel import LOOPBACK
from tests.fuzz.taps.octets import adjust, summed
from tests.fuzz.taps.world import Sender, Tag, World
from vagent.datapath.tap.layout import (
    Address,
    Constants,
    Guest,
    GuestFlag,
    GuestPlace,
    IdentityEntry,
    Reply,
)
from vagent.ports.identity import identity6_of, link_local_word, prefix6_of

SERVICES: tuple[Address, ...] = (
    IPv4Address("169.254.169.254"),
    IPv4Address("169.254.1.7"),
    IPv6Address("fd00:ec2::254"),
    IPv6Address("fe80::a9fe:a9fe"),
)
FOREIGN: tuple[Address, ...] = (
    IPv4Address("0.0.0.0"),
    IPv4Address("192.0.2.1"),
    IPv4Address("169.254.169.255"),
    IPv4Address("224.0.0.251"),
    IPv6Address("::"),
    IPv6Address("2001:db8:f::1"),
    IPv6Address("ff02::1"),
    IPv6Address("fe80::1:2:3:4"),
    IPv6Address("fe81::1:2:3:4"),
    IPv6Address("fd00:ec2::255"),
)
MACS = [bytes.fromhex(f"0200000000{number:02x}") for number in range(1, 5)]
MACS.append(bytes.fromhex("021100000001"))
SERVICE_MAC, HOST_MAC = bytes.fromhex("0200a9fea9fe"), bytes.fromhex("020000000077")
TAG_TYPES = (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300)
_PROTOCOLS = (6, 17, 1, 58, 132, 2)
_HEADERS = (0, 43, 44, 51, 60, 135, 139, 140)


T = TypeVar("T")


class Grammar:
    """One world, and frames for it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self.world = self._world()
        self._addresses = list(SERVICES) + list(FOREIGN)
        self._addresses += [
            place.address for place in self.world.identities if place.address
        ]

    # Worlds

    def _world(self) -> World:
        base = int(
            IPv4Address(self._one("169.254.64.0", "169.254.128.0", "100.64.0.0"))
        )
        constants = Constants(
            guest_side=LOOPBACK,
            host_mac=HOST_MAC,
            service_mac=SERVICE_MAC,
            identity_base=base,
            identity_prefix6=prefix6_of(base).to_bytes(4, "big"),
            fast_path=False,
        )
        world = World(constants, services=frozenset(SERVICES))
        for index in self._random.sample(range(2, 0xFFFF), 6):
            self._guest(world, index)
        return world

    def _guest(self, world: World, index: int) -> None:
        mac, vlan = self._one(*MACS[:4]), self._one(0, 0, 5, 4094)
        ifindex = self._one(LOOPBACK, LOOPBACK, LOOPBACK, 7)
        key = (ifindex, vlan, mac)
        first = key not in world.guests
        flags = GuestFlag(self._one(0, 1, 1, 2)) if first else GuestFlag(0)
        got = self._one(vlan, 9)
        if first:
            last = self._one(0, 1, time.monotonic_ns())
            world.guests[key] = Guest(index, flags, got, last=last)
        base = world.constants.identity_base
        four = six = None
        if flags != GuestFlag.LEARNS and self._random.random() < 0.8:
            four = IPv4Address(f"10.0.0.{self._random.randrange(1, 9)}")
            entry = IdentityEntry(index, IPv4Address(base + index))
            world.identities[GuestPlace(*key, four)] = entry
        if flags != GuestFlag.LEARNS and self._random.random() < 0.8:
            six = IPv6Address(f"2001:db8::{self._random.randrange(1, 9):x}")
            entry = IdentityEntry(index, identity6_of(index, base))
            world.identities[GuestPlace(*key, six)] = entry
        takes = bool(flags & GuestFlag.TAKES_LINK_LOCAL)
        mtu = self._one(1500, 1500, 1280, 100, 9000)
        world.replies[index] = Reply(ifindex, mtu, mac, got, four, six, takes)

    # Frames of guests

    def from_guest(self) -> tuple[bytes, Tag | None, Sender]:
        """A frame, the tag beside it, and whom it comes from."""
        sender = Sender(LOOPBACK, self._one(0, 5, 4094, 6), self._one(*MACS))
        if self._random.random() < 0.8:
            here = [key for key in self.world.guests if key[0] == LOOPBACK]
            sender = Sender(*self._one(*here)) if here else sender
        tag = None
        control = sender.vlan | self._one(0, 0x7000)
        if sender.vlan or self._random.random() < 0.1:
            tag = Tag(self._one(0x8100, 0x8100, 0x8100, 0x88A8), control)
            kind = 0x8000 if tag.kind == 0x88A8 else 0
            sender = sender._replace(vlan=sender.vlan | kind)
        own = [
            place.address
            for place in self.world.identities
            if (place.ifindex, place.vlan, place.mac) == sender and place.address
        ]
        own.append(IPv6Address("fe80::a:b:c:d"))
        kind, packet = self._packet(sender.mac, own)
        stack = b""
        for _ in range(self._one(*[0] * 12, 1, 1, 2, 3, 4)):
            stack += struct.pack("!HH", self._one(*TAG_TYPES), self._one(0, 5, 100))
        to = self._one(SERVICE_MAC, bytes.fromhex("333300000001"), b"\xff" * 6)
        frame = to + sender.mac + stack + struct.pack("!H", kind) + packet
        frame = self._mutated(frame, spare=12)
        return frame, tag, sender

    def _packet(self, mac: bytes, own: list[Address]) -> tuple[int, bytes]:
        """A packet of a guest with these addresses, and its Ethernet type."""
        six = self._random.random() < 0.5
        own = [each for each in own if (each.version == 6) == six] or own
        mine = self._one(*own) if self._random.random() < 0.8 else self._any(six)
        peer = self._service(six) if self._random.random() < 0.8 else self._any(six)
        if mine.version != peer.version or mine.version != (6 if six else 4):
            mine, peer = self._any(six), self._service(six)
        chance = self._random.random()
        if not six and chance < 0.2:
            return 0x0806, self._arp(mac, mine, peer)
        if six and chance < 0.25:
            return 0x86DD, self._neighbour(mine, peer)
        return self._ip(mine, peer, quoted=(peer, mine))

    def _arp(self, mac: bytes, mine: Address, peer: Address) -> bytes:
        sizes = self._one(b"\6\4", b"\6\4", b"\6\4", b"\6\6", b"\x08\4")
        packet = b"\0\1\x08\0" + sizes + struct.pack("!H", self._one(1, 1, 1, 2, 3))
        sender = self._one(mine, mine, mine, peer, FOREIGN[0], IPv4Address(0))
        target = self._one(peer, peer, mine, sender)
        packet += self._one(*MACS, mac, mac, mac, mac) + sender.packed[:4]
        return packet + self._one(bytes(6), SERVICE_MAC) + target.packed[:4]

    def _neighbour(self, mine: Address, peer: Address) -> bytes:
        kind = self._one(135, 135, 135, 136, 137, 134)
        target = self._one(peer, peer, mine)
        message = bytes((kind, self._one(0, 0, 0, 1))) + bytes(6)
        message += (mine.packed if kind == 137 else b"") + target.packed
        message += self._one(b"", b"\1\1" + MACS[0])
        source = self._one(mine, mine, mine, IPv6Address("::"))
        solicited = IPv6Address(b"\xff\2" + bytes(9) + b"\1\xff" + peer.packed[13:])
        to = self._one(peer, solicited, solicited)
        return self._six(source, to, 58, message, hops=self._one(255, 255, 255, 64))

    # Frames of the host

    def from_host(self) -> tuple[bytes, Tag | None, int]:
        """A frame, the tag beside it, and the length of its segments (GSO), or 0."""
        to = self._one(*self._identities())
        six = to.version == 6
        if self._random.random() < 0.1:
            to = self._any(six)
        peer = self._service(six)
        kind, packet = self._ip(peer, to, quoted=(to, peer))
        frame = self._one(SERVICE_MAC, HOST_MAC) + HOST_MAC + struct.pack("!H", kind)
        tag = Tag(0x8100, 5) if self._random.random() < 0.05 else None
        frame = self._mutated(frame + packet, spare=0)
        return frame, tag, self._one(0, 0, 0, 500) if len(frame) >= 100 else 0

    def _identities(self) -> list[Address]:
        """Those of guests that have such an address, mostly; else any."""
        found: list[Address] = []
        base = self.world.constants.identity_base
        for index, reply in (*self.world.replies.items(), (3, None)):
            any_form = self._random.random() < 0.1
            if any_form or (reply and reply.address4):
                found.append(IPv4Address(base + index))
            if any_form or (reply and reply.address6):
                found.append(identity6_of(index, base))
            if any_form or (reply and reply.takes_link_local):
                upper = self.world.constants.identity_prefix6
                upper += link_local_word(index).to_bytes(4, "big")
                found.append(IPv6Address(upper + bytes.fromhex("000a000b000c000d")))
        return found or [IPv4Address(base + 3)]

    # What both send

    def _ip(
        self, source: Address, to: Address, quoted: tuple[Address, Address]
    ) -> tuple[int, bytes]:
        six = source.version == 6
        protocol = self._one(6, 6, 17, 17, 58 if six else 1, self._one(*_PROTOCOLS))
        message = self._message(protocol, quoted)
        if six:
            return 0x86DD, self._six(source, to, protocol, message)
        return 0x0800, self._four(source, to, protocol, message)

    def _message(self, protocol: int, quoted: tuple[Address, Address]) -> bytes:
        data = self._random.randbytes(self._one(0, 1, 2, 7, 64, 300))
        if protocol == 6:
            return struct.pack("!HHIIHHHH", 4000, 80, 1, 2, 0x5012, 512, 0, 0) + data
        if protocol == 17:
            return struct.pack("!HHHH", 4000, 53, 8 + len(data), 0) + data
        if protocol in (1, 58):
            kinds = (0, 1, 2, 3, 4, 5, 8, 11, 12, 13, 127, 128, 129, 136)
            head = struct.pack("!BBHI", self._one(3, 3, 1, 11, *kinds), 0, 0, 1280)
            if self._random.random() < 0.2:
                return head + data
            return head + self._quote(quoted)
        return data

    def _quote(self, quoted: tuple[Address, Address]) -> bytes:
        source, to = quoted
        if self._random.random() < 0.15:
            source, to = self._any(source.version == 6), self._any(to.version == 6)
        protocol = self._one(6, 17)
        message = self._random.randbytes(self._one(0, 7, 8, 9, 40))
        if source.version != to.version:
            return message
        six = source.version == 6
        quote = (self._six if six else self._four)(source, to, protocol, message)
        if self._random.random() < 0.15:  # in what says whose flow it was
            addresses = range(8, 40) if six else range(12, 20)
            at = self._random.choice((0, *addresses))
            quote = quote[:at] + self._random.randbytes(1) + quote[at + 1 :]
        return quote

    def _four(
        self, source: Address, to: Address, protocol: int, message: bytes
    ) -> bytes:
        options = b"\1" * self._one(*[0] * 9, 4, 40)
        if self._random.random() < 0.1:
            options = self._route()
        fragment = self._one(*[0x4000] * 6, 0, 0x2000, 0x0010, 0x2010, 0x8000)
        if not fragment & 0x1FFF:
            message = self._with_checksum(source, to, protocol, message)
        message = message[: self._one(*[9999] * 8, 0, 4, 8, 17, 18)]
        total = 20 + len(options) + len(message)
        header = bytearray(
            struct.pack(
                "!BBHHHBBH4s4s",
                *(0x45 + len(options) // 4, 0, total, 7, fragment),
                *(64, protocol, 0, source.packed, to.packed),
            )
        )
        adjust(header, 10, bytes(len(header)), bytes(header))
        return bytes(header) + options + message + bytes(self._one(0, 0, 6))

    def _route(self) -> bytes:
        """An option with addresses in it, that begins anywhere."""
        named = b"".join(
            self._any(six=False).packed for _ in range(self._random.randrange(1, 8))
        )
        kind = self._one(0x83, 0x89, 0x44, 0x07)
        option = bytes((kind, 3 + len(named), self._one(4, 8))) + named
        option = b"\1" * self._random.randrange(6) + option
        return option + bytes(-len(option) % 4)

    def _six(
        self,
        source: Address,
        to: Address,
        protocol: int,
        message: bytes,
        hops: int = 64,
    ) -> bytes:
        message = self._with_checksum(source, to, protocol, message)
        message = message[: self._one(*[9999] * 8, 0, 3, 4, 8, 17, 18, 23, 24)]
        for _ in range(self._one(*[0] * 12, 1, 1, 1, 1, 2, 5, 6, 7, 8)):
            protocol, message = self._extended(protocol, message)
        head = struct.pack("!IHBB", 6 << 28, len(message), protocol, hops)
        return head + source.packed + to.packed + message + bytes(self._one(0, 0, 6))

    def _extended(self, protocol: int, message: bytes) -> tuple[int, bytes]:
        kind = self._one(44, 44, 44, *_HEADERS)
        if kind == 44:
            offset = self._one(0, 0, 1, 1, 8, 9)
            return kind, struct.pack("!BBHI", protocol, 0, offset, 9) + message
        length = self._one(0, 0, 0, 1, 2, 200)
        more = length if kind == 51 else 8 * length
        padding = bytes(min(6 + more, 40))
        return kind, bytes((protocol, length)) + padding + message

    def _with_checksum(
        self, source: Address, to: Address, protocol: int, message: bytes
    ) -> bytes:
        at = {6: 16, 17: 6, 58: 2, 1: 2}.get(protocol)
        if at is None or len(message) < at + 2 or self._random.random() < 0.1:
            return message
        if self._random.random() < 0.1:
            edge = self._one(b"\0\0", b"\xff\xff")
            return message[:at] + edge + message[at + 2 :]
        pseudo = b"" if protocol == 1 else source.packed + to.packed
        pseudo += b"" if protocol == 1 else struct.pack("!II", len(message), protocol)
        total = summed(pseudo + message + bytes(len(message) % 2))
        return message[:at] + struct.pack("!H", 0xFFFF ^ total) + message[at + 2 :]

    # Chance

    def _one(self, *choices: T) -> T:
        return self._random.choice(choices)

    def _any(self, six: bool) -> Address:
        return self._one(*(each for each in self._addresses if _is(each, six)))

    def _service(self, six: bool) -> Address:
        return self._one(*(each for each in SERVICES if _is(each, six)))

    def _mutated(self, frame: bytes, spare: int) -> bytes:
        """Mostly as it is; else cut, longer, or with other bytes behind the first."""
        changes: list[Callable[[bytes], bytes]] = [self._cut, self._longer, self._bits]
        while self._random.random() < 0.25:
            change = self._random.choice(changes)
            frame = frame[:spare] + change(frame[spare:])
        if self._random.random() < 0.03:  # another version, or length of the header
            first = self._one(0x35, 0x44, 0x46, 0x4F, 0x55, 0x6F, 0x70)
            frame = frame[:14] + bytes((first,)) + frame[15:]
        return frame[:2000].ljust(14, b"\0")

    def _cut(self, data: bytes) -> bytes:
        return data[: self._random.randrange(len(data) + 1)]

    def _longer(self, data: bytes) -> bytes:
        return data + self._random.randbytes(self._random.randrange(1, 50))

    def _bits(self, data: bytes) -> bytes:
        if not data:
            return data
        at = self._random.randrange(min(len(data), 120))
        return data[:at] + self._random.randbytes(1) + data[at + 1 :]


def _is(address: Address, six: bool) -> bool:
    return (address.version == 6) == six
