"""The fast path's two eBPF programs, one for taps and one for the fabric's interfaces.

They run at traffic control's ingress hook. A packet that matches an entry exactly is
translated and sent on; every other packet goes the way that it goes without them. They
translate TCP and UDP over IPv4, without VLAN tag, options and fragments. What opens or
ends a connection goes the usual way.
"""

from __future__ import annotations

import socket

from vagent.datapath.fast_path import entry
from vagent.kernel.bpf_assembler import Code, If, Op, Size
from vagent.kernel.ip_packet import TCP, UDP

THRESHOLD = 64
"""Packets of a flow after which it is put into the queue of candidates. For short flows
an entry is not worth while: a question to a name server takes two packets."""
AGAIN = 1024
"""Packets after which it is put there again. A power of two."""

_LOOKUP, _UPDATE, _CLOCK, _REPLACE_L4, _REDIRECT, _REDIRECT_NEIGH, _PUSH = (
    *(1, 2, 5, 11, 23),
    *(152, 87),
)
_PSEUDO_HEADER, _ZERO_MEANS_NONE = 0x10, 0x20
"""Flags of `bpf_l4_csum_replace`: the pseudo header changes; 0 means no checksum."""
_PASS = 0xFFFFFFFF
"""TC_ACT_UNSPEC: go on as if there were no program."""

# Offsets in struct __sk_buff (linux/bpf.h).
_LENGTH, _PACKET_TYPE, _PROTOCOL, _HAS_TAG, _IFINDEX = 0, 4, 16, 20, 40
_DATA, _DATA_END, _SEGMENT = 76, 80, 176

# Offsets in the frame: Ethernet, IPv4 without options, ports.
_ETHERNET = 14
_TO_MAC, _FROM_MAC = 0, 6
_VERSION, _TOTAL, _FRAGMENT, _TTL, _NEXT, _IP_SUM = 14, 16, 20, 22, 23, 24
_SOURCE, _DESTINATION, _PORTS = 26, 30, 34
_TCP_OFFSET, _TCP_FLAGS = 46, 47
_UDP_SUM, _TCP_SUM = 40, 50
_UDP_END, _TCP_END = 42, 54
_OPENS_OR_ENDS = 0x07
"""FIN, SYN, RST."""

# Offsets on the stack.
_AT_KEY, _AT_DESTINATION, _AT_ONE = -24, -8, -32


def at_tap(
    *, entries: int, lease: int, services: int, counted: int, candidates: int
) -> bytes:
    """The program for taps, with its maps by descriptor.

    It looks only at packets to the addresses in `services`. In `counted` it counts the
    packets of flows without an entry, and puts the key of one that has many into the
    queue `candidates`.
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
    code.load(Size.WORD, 1, 9, entry.OUT)
    code.take(Op.MOV, 2, 9)
    code.put(Op.ADD, 2, entry.NEXT_HOP)
    code.put(Op.MOV, 3, entry.NEXT_HOP_SIZE)
    code.put(Op.MOV, 4, 0)
    code.call(_REDIRECT_NEIGH)
    code.leave()
    _count(code, counted, candidates)
    _pass(code)
    return code.assembled()


def at_fabric(*, entries: int, lease: int) -> bytes:
    """The program for the fabric's interfaces, with its maps by descriptor."""
    code = Code()
    # Only frames that are sent to this host.
    code.load(Size.WORD, 2, 1, _PACKET_TYPE)
    code.jump_if(If.UNEQUAL, 2, 0, "pass")
    _read(code)
    code.store_number(Size.HALF, 10, _AT_KEY + 8, 0)
    code.store_number(Size.WORD, 10, _AT_KEY + 4, 0)
    _complete_key(code)
    _translate(code, entries, lease, absent="pass", to_guest=True)
    code.load(Size.WORD, 1, 9, entry.OUT)
    code.put(Op.MOV, 2, 0)
    code.call(_REDIRECT)
    code.leave()
    _pass(code)
    return code.assembled()


def _read(code: Code) -> None:
    """Pass what cannot be translated, and write the key except for interface and MAC
    address. Register 6 is the context, 7 and 8 point to the frame's beginning and end.
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
    # In this order, because the verifier of Linux 6.1, where the program lacks
    # CAP_PERFMON, accepts a double word only if its lower half is written last.
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
    """Find the entry, whose address is then in register 9, and translate the packet."""
    _look_up(code, entries, _AT_KEY)
    code.jump_if(If.EQUAL, 0, 0, absent)
    code.take(Op.MOV, 9, 0)
    code.load(Size.WORD, 1, 9, entry.CLOSED)
    code.jump_if(If.UNEQUAL, 1, 0, "pass")
    code.call(_CLOCK)
    code.map_value(1, lease)
    code.load(Size.DOUBLE, 1, 1, 0)
    code.jump_by(If.GREATER, 0, 1, "pass")
    _fit(code, entries)
    code.put(Op.MOV, 1, 1)
    code.count(9, entry.PACKETS, 1)
    code.load(Size.WORD, 1, 6, _LENGTH)
    code.put(Op.ADD, 1, -_ETHERNET)
    code.count(9, entry.BYTES, 1)
    _rewrite_header(code)
    if to_guest:
        _for_guest(code)
    _rewrite_checksum(code)


def _fit(code: Code, entries: int) -> None:
    """Pass a packet that is shorter than its header says, or too long for the way out.
    A TCP packet that opens or ends a connection closes both entries and is passed.
    """
    code.load(Size.HALF, 1, 7, _TOTAL)
    code.jump_if(If.EQUAL, 1, 0, "pass")  # longer than a header can say
    _swap(code, 1)
    code.jump_if(If.LESS, 1, _UDP_END - _ETHERNET, "pass")
    code.load(Size.WORD, 2, 6, _LENGTH)
    code.put(Op.ADD, 2, -_ETHERNET)
    code.jump_by(If.GREATER, 1, 2, "pass")
    code.load(Size.WORD, 3, 9, entry.MTU)
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
    code.store_number(Size.WORD, 9, entry.CLOSED, 1)
    code.take(Op.MOV, 2, 9)
    code.put(Op.ADD, 2, entry.OTHER)
    code.map(1, entries)
    code.call(_LOOKUP)
    code.jump_if(If.EQUAL, 0, 0, "pass")
    code.store_number(Size.WORD, 0, entry.CLOSED, 1)
    code.jump("pass")
    code.label("compare")
    code.jump_by(If.GREATER, 2, 3, "pass")


def _rewrite_header(code: Code) -> None:
    """Write addresses, ports, time to live and the IP header's checksum. There is no
    call in here. Register 8 is then the protocol.
    """
    code.load(Size.HALF, 1, 7, _IP_SUM)
    code.put(Op.XOR, 1, 0xFFFF)
    code.load(Size.WORD, 2, 9, entry.IP_DIFF)
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
    _copy(code, entry.ADDRESSES, _SOURCE, 2)
    _copy(code, entry.NEW_PORTS, _PORTS, 1)
    code.load(Size.BYTE, 8, 7, _NEXT)


def _for_guest(code: Code) -> None:
    _copy(code, entry.MACS, _TO_MAC, 3)


def _rewrite_checksum(code: Code) -> None:
    """Update TCP's or UDP's checksum, by the kernel's helper: the kernel alone knows
    whether the sender has left it to the hardware, and it is incomplete yet.
    """
    for label, diff, flags in (
        ("addresses", entry.ADDRESS_DIFF, _PSEUDO_HEADER),
        ("ports", entry.PORT_DIFF, 0),
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


def _count(code: Code, counted: int, candidates: int) -> None:
    code.label("count")
    _look_up(code, counted, _AT_KEY)
    code.jump_if(If.UNEQUAL, 0, 0, "again")
    code.store_number(Size.DOUBLE, 10, _AT_ONE, 1)
    code.map(1, counted)
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
    code.map(1, candidates)
    _at_stack(code, 2, _AT_KEY)
    code.put(Op.MOV, 3, 0)
    code.call(_PUSH)


def _pass(code: Code) -> None:
    code.label("pass")
    code.put(Op.MOV, 0, _PASS)
    code.leave()


def _need(code: Code, length: int) -> None:
    """Pass a frame that has fewer bytes than this at hand."""
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
    """Turn 16 bits from network byte order into that of the machine, which is always
    little-endian here (`bpf`). Register 3 is lost.
    """
    code.take(Op.MOV, 3, register)
    code.put(Op.RSH, 3, 8)
    code.put(Op.AND, register, 0xFF)
    code.put(Op.LSH, register, 8)
    code.take(Op.ADD, register, 3)
