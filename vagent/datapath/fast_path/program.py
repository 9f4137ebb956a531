"""The fast path's programs for the kernel, and what their maps hold: pure.

One program stands at the taps, one at the fabric's interfaces, at traffic control's
ingress hook. A packet that matches an entry exactly is translated and sent on; every
other goes the way that it goes without them. They translate IPv4, TCP and UDP, without
tags, options and fragments, and pass on what opens or ends a connection.
"""

from __future__ import annotations

import socket
import struct
import sys
from ipaddress import IPv4Address
from typing import NamedTuple

from vagent.kernel.bpf_assembler import Code, If, Op, Size
from vagent.kernel.ip_packet import TCP, UDP

KEY_SIZE, VALUE_SIZE = 24, 112
THRESHOLD = 64
"""Packets of a flow before it is told: a question to a name server takes two, and its
translation by the kernel's rules is done before an entry would be made."""
AGAIN = 1024
"""It is told again after as many as this, a power of two."""

_LOOKUP, _UPDATE, _CLOCK, _REPLACE_L4, _REDIRECT, _REDIRECT_NEIGH, _PUSH = (
    *(1, 2, 5, 11, 23),
    *(152, 87),
)
_PSEUDO_HEADER, _ZERO_MEANS_NONE = 0x10, 0x20
"""Of `bpf_l4_csum_replace`: addresses are part of it; UDP may have none."""
_PASS = 0xFFFFFFFF
"""TC_ACT_UNSPEC: whatever would come without the program."""

# Of struct __sk_buff (linux/bpf.h).
_LENGTH, _PACKET_TYPE, _PROTOCOL, _HAS_TAG, _IFINDEX = 0, 4, 16, 20, 40
_DATA, _DATA_END, _SEGMENT = 76, 80, 176

# Of the frame: Ethernet, IPv4 without options, ports.
_ETHERNET = 14
_TO_MAC, _FROM_MAC = 0, 6
_VERSION, _TOTAL, _FRAGMENT, _TTL, _NEXT, _IP_SUM = 14, 16, 20, 22, 23, 24
_SOURCE, _DESTINATION, _PORTS = 26, 30, 34
_TCP_OFFSET, _TCP_FLAGS = 46, 47
_UDP_SUM, _TCP_SUM = 40, 50
_UDP_END, _TCP_END = 42, 54
_OPENS_OR_ENDS = 0x07
"""FIN, SYN, RST."""

# Of an entry. Counters first: the program adds to them.
_PACKETS, _BYTES, _CLOSED, _OUT, _MTU = 0, 8, 16, 20, 24
_IP_DIFF, _ADDRESS_DIFF, _PORT_DIFF, _ADDRESSES, _NEW_PORTS = 28, 32, 36, 40, 48
_NEXT_HOP, _NEXT_HOP_SIZE, _MACS, _OTHER = 52, 20, 72, 88
_VALUE = struct.Struct("=QQIIIIII4s4s4sI4s12x12s4x24s")
_KEY = struct.Struct("=I6sBx4s4s4s")
_COUNTERS = struct.Struct("=QQI")

# Of the stack.
_AT_KEY, _AT_DESTINATION, _AT_ONE = -24, -8, -32


class Way(NamedTuple):
    """How a packet leaves: `mtu` of IP bytes, `next_hop` on the fabric, or the MAC
    addresses to and from at a tap.
    """

    ifindex: int
    mtu: int
    next_hop: IPv4Address | None = None
    to_mac: bytes = bytes(6)
    from_mac: bytes = bytes(6)


class Pair(NamedTuple):
    """Where packets of one direction come from and go to."""

    source: IPv4Address
    destination: IPv4Address
    source_port: int
    destination_port: int

    @property
    def addresses(self) -> bytes:
        """Both, as in the header."""
        return self.source.packed + self.destination.packed

    @property
    def ports(self) -> bytes:
        """Both, as in the header."""
        return struct.pack("!HH", self.source_port, self.destination_port)

    def reversed(self) -> Pair:
        """Of an answer."""
        return Pair(
            self.destination, self.source, self.destination_port, self.source_port
        )


class Match(NamedTuple):
    """Which packets: those of `pair` that come in at an interface from a MAC address
    (none at the fabric's: routers change).
    """

    ifindex: int
    mac: bytes
    protocol: int
    pair: Pair


class Count(NamedTuple):
    """What an entry has seen; `is_closed`: the connection is about to end."""

    packets: int
    bytes: int
    is_closed: bool


def encode_match(match: Match) -> bytes:
    """The key of an entry, and what is told of a flow."""
    pair = match.pair
    return _KEY.pack(
        match.ifindex,
        match.mac,
        match.protocol,
        pair.source.packed,
        pair.destination.packed,
        pair.ports,
    )


def decode_match(key: bytes) -> Match:
    """The reverse, of KEY_SIZE bytes."""
    ifindex, mac, protocol, source, destination, ports = _KEY.unpack(key)
    pair = Pair(
        IPv4Address(source), IPv4Address(destination), *struct.unpack("!HH", ports)
    )
    return Match(ifindex, mac, protocol, pair)


def encode_entry(old: Pair, new: Pair, way: Way, other: bytes) -> bytes:
    """An entry that has seen nothing; `other` is the key of the way back."""
    addresses = _difference(old.addresses, new.addresses)
    return _VALUE.pack(
        0,
        0,
        0,
        way.ifindex,
        way.mtu,
        _folded(_folded(addresses + _one_hop_less(), 32), 16),
        addresses,
        _difference(old.ports, new.ports),
        new.source.packed,
        new.destination.packed,
        new.ports,
        socket.AF_INET,
        bytes(4) if way.next_hop is None else way.next_hop.packed,
        way.to_mac + way.from_mac,
        other,
    )


def decode_count(value: bytes) -> Count:
    """What an entry of VALUE_SIZE bytes has seen."""
    packets, count, closed = _COUNTERS.unpack_from(value)
    return Count(packets, count, bool(closed))


def _difference(old: bytes, new: bytes) -> int:
    """What a checksum grows by, in ones' complement (RFC 1624)."""
    words = struct.Struct(f"={len(old) // 4}I")
    grown = sum(word ^ 0xFFFFFFFF for word in words.unpack(old))
    return _folded(grown + sum(words.unpack(new)), 32)


def _one_hop_less() -> int:
    """The same, of the word with the time to live."""
    return 0xFFFFFFFF ^ int.from_bytes(b"\1\0", sys.byteorder)


def _folded(number: int, bits: int) -> int:
    while number >> bits:
        number = (number & (1 << bits) - 1) + (number >> bits)
    return number


def at_tap(*, entries: int, lease: int, services: int, seen: int, told: int) -> bytes:
    """The program of the taps, for maps by descriptor.

    It looks only at packets to `services`, counts in `seen` those without an entry, and
    puts the match of a flow that has many into the queue `told`.
    """
    code = Code()
    _read(code)
    code.load(Size.HALF, 1, 7, _FROM_MAC + 4)
    code.store(Size.HALF, 10, _AT_KEY + 8, 1)
    code.load(Size.WORD, 1, 7, _FROM_MAC)
    code.store(Size.WORD, 10, _AT_KEY + 4, 1)
    _complete_key(code)
    _look_up(code, services, _AT_DESTINATION)
    code.jump_if(If.EQUAL, 0, 0, "pass")
    _translate(code, entries, lease, absent="count")
    code.load(Size.WORD, 1, 9, _OUT)
    code.take(Op.MOV, 2, 9)
    code.put(Op.ADD, 2, _NEXT_HOP)
    code.put(Op.MOV, 3, _NEXT_HOP_SIZE)
    code.put(Op.MOV, 4, 0)
    code.call(_REDIRECT_NEIGH)
    code.leave()
    _count(code, seen, told)
    _pass(code)
    return code.assembled()


def at_fabric(*, entries: int, lease: int) -> bytes:
    """The program of the fabric's interfaces."""
    code = Code()
    # Only frames for this host itself.
    code.load(Size.WORD, 2, 1, _PACKET_TYPE)
    code.jump_if(If.UNEQUAL, 2, 0, "pass")
    _read(code)
    code.store_number(Size.HALF, 10, _AT_KEY + 8, 0)
    code.store_number(Size.WORD, 10, _AT_KEY + 4, 0)
    _complete_key(code)
    _translate(code, entries, lease, absent="pass", to_guest=True)
    code.load(Size.WORD, 1, 9, _OUT)
    code.put(Op.MOV, 2, 0)
    code.call(_REDIRECT)
    code.leave()
    _pass(code)
    return code.assembled()


def _read(code: Code) -> None:
    """Is it a packet that can be translated? Registers: 6 the context, 7 and 8 where
    the frame begins and ends. The key is made but for interface and MAC address.
    """
    code.take(Op.MOV, 6, 1)
    code.load(Size.WORD, 1, 6, _PROTOCOL)
    code.jump_if(If.UNEQUAL, 1, socket.htons(0x0800), "pass")
    code.load(Size.WORD, 1, 6, _HAS_TAG)
    code.jump_if(If.UNEQUAL, 1, 0, "pass")
    code.load(Size.WORD, 7, 6, _DATA)
    code.load(Size.WORD, 8, 6, _DATA_END)
    _need(code, _UDP_END)
    code.load(Size.BYTE, 1, 7, _VERSION)
    code.jump_if(If.UNEQUAL, 1, 0x45, "pass")
    code.load(Size.HALF, 1, 7, _FRAGMENT)
    code.jump_if(If.BITS, 1, socket.htons(0x3FFF), "pass")
    code.load(Size.BYTE, 1, 7, _TTL)
    code.jump_if(If.AT_MOST, 1, 1, "pass")
    code.load(Size.BYTE, 2, 7, _NEXT)
    code.jump_if(If.EQUAL, 2, UDP, "known")
    code.jump_if(If.UNEQUAL, 2, TCP, "pass")
    _need(code, _TCP_END)
    code.label("known")
    # From the end: to a verifier that lets no pointer be seen (without CAP_PERFMON,
    # Linux 6.1), the lower half of a double word may be written last, not first.
    for offset, field in ((20, _PORTS), (16, _DESTINATION), (12, _SOURCE)):
        code.load(Size.WORD, 1, 7, field)
        code.store(Size.WORD, 10, _AT_KEY + offset, 1)
    code.store(Size.HALF, 10, _AT_KEY + 10, 2)


def _complete_key(code: Code) -> None:
    code.load(Size.WORD, 1, 6, _IFINDEX)
    code.store(Size.WORD, 10, _AT_KEY, 1)


def _translate(
    code: Code, entries: int, lease: int, *, absent: str, to_guest: bool = False
) -> None:
    """Find the entry (register 9), and rewrite the packet as it says."""
    _look_up(code, entries, _AT_KEY)
    code.jump_if(If.EQUAL, 0, 0, absent)
    code.take(Op.MOV, 9, 0)
    code.load(Size.WORD, 1, 9, _CLOSED)
    code.jump_if(If.UNEQUAL, 1, 0, "pass")
    code.call(_CLOCK)
    code.map_value(1, lease)
    code.load(Size.DOUBLE, 1, 1, 0)
    code.jump_by(If.GREATER, 0, 1, "pass")
    _fit(code, entries)
    code.put(Op.MOV, 1, 1)
    code.count(9, _PACKETS, 1)
    code.load(Size.WORD, 1, 6, _LENGTH)
    code.put(Op.ADD, 1, -_ETHERNET)
    code.count(9, _BYTES, 1)
    _rewrite_header(code)
    if to_guest:
        _for_guest(code)
    _rewrite_checksum(code)


def _fit(code: Code, entries: int) -> None:
    """Is it as long as it says, and does it fit through the way out? A TCP packet that
    opens or ends a connection closes both entries instead.
    """
    code.load(Size.HALF, 1, 7, _TOTAL)
    code.jump_if(If.EQUAL, 1, 0, "pass")  # longer than a header can say
    _swap(code, 1)
    code.jump_if(If.LESS, 1, _UDP_END - _ETHERNET, "pass")
    code.load(Size.WORD, 2, 6, _LENGTH)
    code.put(Op.ADD, 2, -_ETHERNET)
    code.jump_by(If.GREATER, 1, 2, "pass")
    code.load(Size.WORD, 3, 9, _MTU)
    code.load(Size.WORD, 4, 6, _SEGMENT)
    code.load(Size.BYTE, 1, 7, _NEXT)
    code.jump_if(If.EQUAL, 1, TCP, "tcp")
    code.jump_if(If.EQUAL, 4, 0, "compare")
    code.take(Op.MOV, 2, 4)
    code.put(Op.ADD, 2, _UDP_END - _ETHERNET)
    code.jump("compare")
    code.label("tcp")
    _need(code, _TCP_END)
    code.load(Size.BYTE, 1, 7, _TCP_FLAGS)
    code.jump_if(If.BITS, 1, _OPENS_OR_ENDS, "close")
    code.load(Size.BYTE, 1, 7, _TCP_OFFSET)
    code.put(Op.RSH, 1, 4)
    code.jump_if(If.LESS, 1, 5, "pass")
    code.jump_if(If.EQUAL, 4, 0, "compare")
    code.put(Op.LSH, 1, 2)
    code.take(Op.MOV, 2, 4)
    code.take(Op.ADD, 2, 1)
    code.put(Op.ADD, 2, _PORTS - _ETHERNET)
    code.jump("compare")
    code.label("close")
    code.store_number(Size.WORD, 9, _CLOSED, 1)
    code.take(Op.MOV, 2, 9)
    code.put(Op.ADD, 2, _OTHER)
    code.map(1, entries)
    code.call(_LOOKUP)
    code.jump_if(If.EQUAL, 0, 0, "pass")
    code.store_number(Size.WORD, 0, _CLOSED, 1)
    code.jump("pass")
    code.label("compare")
    code.jump_by(If.GREATER, 2, 3, "pass")


def _rewrite_header(code: Code) -> None:
    """Addresses, ports, time to live and the header's own checksum; no call in here.
    Register 8 is the protocol after it.
    """
    code.load(Size.HALF, 1, 7, _IP_SUM)
    code.put(Op.XOR, 1, 0xFFFF)
    code.load(Size.WORD, 2, 9, _IP_DIFF)
    code.take(Op.ADD, 1, 2)
    for _ in range(2):
        code.take(Op.MOV, 2, 1)
        code.put(Op.RSH, 2, 16)
        code.put(Op.AND, 1, 0xFFFF)
        code.take(Op.ADD, 1, 2)
    code.put(Op.XOR, 1, 0xFFFF)
    code.store(Size.HALF, 7, _IP_SUM, 1)
    code.load(Size.BYTE, 1, 7, _TTL)
    code.put(Op.ADD, 1, -1)
    code.store(Size.BYTE, 7, _TTL, 1)
    _copy(code, _ADDRESSES, _SOURCE, 2)
    _copy(code, _NEW_PORTS, _PORTS, 1)
    code.load(Size.BYTE, 8, 7, _NEXT)


def _for_guest(code: Code) -> None:
    _copy(code, _MACS, _TO_MAC, 3)


def _rewrite_checksum(code: Code) -> None:
    """TCP's or UDP's. The kernel does it: it alone knows whether the sender left it to
    the hardware, in which case the ports are not in it yet.
    """
    for label, diff, flags in (
        ("addresses", _ADDRESS_DIFF, _PSEUDO_HEADER),
        ("ports", _PORT_DIFF, 0),
    ):
        code.put(Op.MOV, 2, _TCP_SUM)
        code.put(Op.MOV, 5, flags)
        code.jump_if(If.EQUAL, 8, TCP, label)
        code.put(Op.MOV, 2, _UDP_SUM)
        code.put(Op.MOV, 5, flags | _ZERO_MEANS_NONE)
        code.label(label)
        code.take(Op.MOV, 1, 6)
        code.put(Op.MOV, 3, 0)
        code.load(Size.WORD, 4, 9, diff)
        code.call(_REPLACE_L4)


def _count(code: Code, seen: int, told: int) -> None:
    code.label("count")
    _look_up(code, seen, _AT_KEY)
    code.jump_if(If.UNEQUAL, 0, 0, "again")
    code.store_number(Size.DOUBLE, 10, _AT_ONE, 1)
    code.map(1, seen)
    _at_stack(code, 2, _AT_KEY)
    _at_stack(code, 3, _AT_ONE)
    code.put(Op.MOV, 4, 0)
    code.call(_UPDATE)
    code.jump("pass")
    code.label("again")
    code.put(Op.MOV, 1, 1)
    code.count_and_tell(0, 0, 1)
    code.put(Op.AND, 1, AGAIN - 1)
    code.jump_if(If.UNEQUAL, 1, THRESHOLD - 1, "pass")
    code.map(1, told)
    _at_stack(code, 2, _AT_KEY)
    code.put(Op.MOV, 3, 0)
    code.call(_PUSH)


def _pass(code: Code) -> None:
    code.label("pass")
    code.put(Op.MOV, 0, _PASS)
    code.leave()


def _need(code: Code, length: int) -> None:
    """So much of the frame is at hand."""
    code.take(Op.MOV, 1, 7)
    code.put(Op.ADD, 1, length)
    code.jump_by(If.GREATER, 1, 8, "pass")


def _copy(code: Code, offset: int, field: int, words: int) -> None:
    for word in range(0, 4 * words, 4):
        code.load(Size.WORD, 1, 9, offset + word)
        code.store(Size.WORD, 7, field + word, 1)


def _look_up(code: Code, descriptor: int, offset: int) -> None:
    code.map(1, descriptor)
    _at_stack(code, 2, offset)
    code.call(_LOOKUP)


def _at_stack(code: Code, to: int, offset: int) -> None:
    code.take(Op.MOV, to, 10)
    code.put(Op.ADD, to, offset)


def _swap(code: Code, register: int) -> None:
    """16 bits of the network's order become a little-endian machine's, the only kind
    that `bpf` knows; register 3 is lost.
    """
    code.take(Op.MOV, 3, register)
    code.put(Op.RSH, 3, 8)
    code.put(Op.AND, register, 0xFF)
    code.put(Op.LSH, register, 8)
    code.take(Op.ADD, register, 3)
