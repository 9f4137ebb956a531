"""The stages of the fast path's programs: a packet that matches an entry exactly is
translated, every other one goes the way that it goes without the fast path.

They translate TCP and UDP over IPv4, without VLAN tag, options and fragments. What
opens or ends a connection goes the usual way.
"""

from __future__ import annotations

import socket

from vagent.datapath.tap import flow_entry as entry
from vagent.datapath.tap.idioms import (
    CONTEXT,
    FROM_MAC,
    PSEUDO_HEADER,
    STACK,
    TO_MAC,
    ZERO_MEANS_NONE,
    Helper,
    Skb,
    at_stack,
    look_up,
    swap16,
)
from vagent.kernel.bpf_assembler import Code, If, Op, Size
from vagent.kernel.ip_packet import TCP, UDP

KEY = -200
"""On the stack."""
FRAME, END, ENTRY = 7, 8, 9
"""Registers: the frame's beginning and end; its entry. END is the protocol later."""
_PROTOCOL = END

# Offsets in the frame: Ethernet, IPv4 without options, ports.
_ETHERNET = 14
_VERSION, _TOTAL, _FRAGMENT, _TTL, _NEXT, _IP_SUM = 14, 16, 20, 22, 23, 24
_SOURCE, _DESTINATION, _PORTS = 26, 30, 34
_TCP_OFFSET, _TCP_FLAGS = 46, 47
_UDP_SUM, _TCP_SUM = 40, 50
_UDP_END, _TCP_END = 42, 54
_OPENS_OR_ENDS = 0x07
"""FIN, SYN, RST."""
THRESHOLD = 64
"""Packets of a flow after which it is put into the queue of candidates. For short flows
an entry is not worth while: a question to a name server takes two packets."""
AGAIN = 1024
"""Packets after which it is put there again. A power of two."""
_ONE = KEY - 8


def read(code: Code, otherwise: str) -> None:
    """Leave what cannot be translated, and write the key except for interface and MAC
    address.
    """
    code.load(Size.WORD, 1, CONTEXT, Skb.PROTOCOL)
    code.jump_if(If.UNEQUAL, 1, socket.htons(0x0800), otherwise)
    code.load(Size.WORD, 1, CONTEXT, Skb.HAS_TAG)
    code.jump_if(If.UNEQUAL, 1, 0, otherwise)
    code.load(Size.WORD, FRAME, CONTEXT, Skb.DATA)
    code.load(Size.WORD, END, CONTEXT, Skb.DATA_END)
    _need(code, otherwise, _UDP_END)
    code.load(Size.BYTE, 1, FRAME, _VERSION)
    code.jump_if(If.UNEQUAL, 1, 0x45, otherwise)
    code.load(Size.HALF, 1, FRAME, _FRAGMENT)
    code.jump_if(If.BITS, 1, socket.htons(0x3FFF), otherwise)
    code.load(Size.BYTE, 1, FRAME, _TTL)
    code.jump_if(If.AT_MOST, 1, 1, otherwise)
    code.load(Size.BYTE, 2, FRAME, _NEXT)
    code.jump_if(If.EQUAL, 2, UDP, "fast path: known")
    code.jump_if(If.UNEQUAL, 2, TCP, otherwise)
    _need(code, otherwise, _TCP_END)
    code.label("fast path: known")
    # In this order, because the verifier of Linux 6.1, where the program lacks
    # CAP_PERFMON, accepts a double word only if its lower half is written last.
    for offset, field in ((20, _PORTS), (16, _DESTINATION), (12, _SOURCE)):
        code.load(Size.WORD, 1, FRAME, field)
        code.store(Size.WORD, STACK, KEY + offset, 1)
    code.store(Size.HALF, STACK, KEY + 10, 2)


def complete_key(code: Code, *, from_guest: bool) -> None:
    """Add interface and MAC address. That of a router does not count."""
    if from_guest:
        code.load(Size.HALF, 1, FRAME, FROM_MAC + 4)
        code.store(Size.HALF, STACK, KEY + 8, 1)
        code.load(Size.WORD, 1, FRAME, FROM_MAC)
        code.store(Size.WORD, STACK, KEY + 4, 1)
    else:
        code.store_number(Size.HALF, STACK, KEY + 8, 0)
        code.store_number(Size.WORD, STACK, KEY + 4, 0)
    code.load(Size.WORD, 1, CONTEXT, Skb.IFINDEX)
    code.store(Size.WORD, STACK, KEY, 1)


def translate(
    code: Code,
    entries: int,
    lease: int,
    *,
    absent: str,
    otherwise: str,
    to_guest: bool = False,
) -> None:
    """Find the entry, and translate the packet. Jumps to `absent` where there is none,
    and to `otherwise` where it does not hold for this packet.
    """
    look_up(code, entries, KEY)
    code.jump_if(If.EQUAL, 0, 0, absent)
    code.take(Op.MOV, ENTRY, 0)
    code.load(Size.WORD, 1, ENTRY, entry.CLOSED)
    code.jump_if(If.UNEQUAL, 1, 0, otherwise)
    code.call(Helper.CLOCK)
    code.map_value(1, lease)
    code.load(Size.DOUBLE, 1, 1, 0)
    code.jump_by(If.GREATER, 0, 1, otherwise)
    _fit(code, entries, otherwise)
    code.put(Op.MOV, 1, 1)
    code.count(ENTRY, entry.PACKETS, 1)
    code.load(Size.WORD, 1, CONTEXT, Skb.LENGTH)
    code.put(Op.ADD, 1, -_ETHERNET)
    code.count(ENTRY, entry.BYTES, 1)
    _rewrite_header(code)
    if to_guest:
        _for_guest(code)
    _rewrite_checksum(code)


def _fit(code: Code, entries: int, otherwise: str) -> None:
    """Leave a packet that is shorter than its header says, or too long for the way out.
    A TCP packet that opens or ends a connection closes both entries and is left.
    """
    code.load(Size.HALF, 1, FRAME, _TOTAL)
    code.jump_if(If.EQUAL, 1, 0, otherwise)  # longer than a header can say
    swap16(code, 1, 3)
    code.jump_if(If.LESS, 1, _UDP_END - _ETHERNET, otherwise)
    code.load(Size.WORD, 2, CONTEXT, Skb.LENGTH)
    code.put(Op.ADD, 2, -_ETHERNET)
    code.jump_by(If.GREATER, 1, 2, otherwise)
    code.load(Size.WORD, 3, ENTRY, entry.MTU)
    code.load(Size.WORD, 4, CONTEXT, Skb.SEGMENT)
    code.load(Size.BYTE, 1, FRAME, _NEXT)
    code.jump_if(If.EQUAL, 1, TCP, "fast path: tcp")
    code.jump_if(If.EQUAL, 4, 0, "fast path: compare")
    code.take(Op.MOV, 2, 4)
    code.put(Op.ADD, 2, _UDP_END - _ETHERNET)
    code.jump("fast path: compare")
    code.label("fast path: tcp")
    _need(code, otherwise, _TCP_END)
    code.load(Size.BYTE, 1, FRAME, _TCP_FLAGS)
    code.jump_if(If.BITS, 1, _OPENS_OR_ENDS, "fast path: close")
    code.load(Size.BYTE, 1, FRAME, _TCP_OFFSET)
    code.put(Op.RSH, 1, 4)
    code.jump_if(If.LESS, 1, 5, otherwise)
    code.jump_if(If.EQUAL, 4, 0, "fast path: compare")
    code.put(Op.LSH, 1, 2)
    code.take(Op.MOV, 2, 4)
    code.take(Op.ADD, 2, 1)
    code.put(Op.ADD, 2, _PORTS - _ETHERNET)
    code.jump("fast path: compare")
    code.label("fast path: close")
    code.store_number(Size.WORD, ENTRY, entry.CLOSED, 1)
    code.take(Op.MOV, 2, ENTRY)
    code.put(Op.ADD, 2, entry.OTHER)
    code.map(1, entries)
    code.call(Helper.LOOKUP)
    code.jump_if(If.EQUAL, 0, 0, otherwise)
    code.store_number(Size.WORD, 0, entry.CLOSED, 1)
    code.jump(otherwise)
    code.label("fast path: compare")
    code.jump_by(If.GREATER, 2, 3, otherwise)


def _rewrite_header(code: Code) -> None:
    """Write addresses, ports, time to live and the IP header's checksum. There is no
    call in here. _PROTOCOL is then the protocol.
    """
    code.load(Size.HALF, 1, FRAME, _IP_SUM)
    code.put(Op.XOR, 1, 0xFFFF)
    code.load(Size.WORD, 2, ENTRY, entry.IP_DIFF)
    code.take(Op.ADD, 1, 2)
    for _ in range(2):
        code.take(Op.MOV, 2, 1)
        code.put(Op.RSH, 2, 16)
        code.put(Op.AND, 1, 0xFFFF)
        code.take(Op.ADD, 1, 2)
    code.put(Op.XOR, 1, 0xFFFF)
    code.store(Size.HALF, FRAME, _IP_SUM, 1)
    code.load(Size.BYTE, 1, FRAME, _TTL)
    code.put(Op.ADD, 1, -1)
    code.store(Size.BYTE, FRAME, _TTL, 1)
    _copy(code, entry.ADDRESSES, _SOURCE, 2)
    _copy(code, entry.NEW_PORTS, _PORTS, 1)
    code.load(Size.BYTE, _PROTOCOL, FRAME, _NEXT)


def _for_guest(code: Code) -> None:
    _copy(code, entry.MACS, TO_MAC, 3)


def _rewrite_checksum(code: Code) -> None:
    """Update TCP's or UDP's checksum, by the kernel's helper: the kernel alone knows
    whether the sender has left it to the hardware, and it is incomplete yet.
    """
    for label, diff, flags in (
        ("fast path: addresses", entry.ADDRESS_DIFF, PSEUDO_HEADER),
        ("fast path: ports", entry.PORT_DIFF, 0),
    ):
        code.put(Op.MOV, 2, _TCP_SUM)
        code.put(Op.MOV, 5, flags)
        code.jump_if(If.EQUAL, _PROTOCOL, TCP, label)
        code.put(Op.MOV, 2, _UDP_SUM)
        code.put(Op.MOV, 5, flags | ZERO_MEANS_NONE)
        code.label(label)
        code.take(Op.MOV, 1, CONTEXT)
        code.put(Op.MOV, 3, 0)
        code.load(Size.WORD, 4, ENTRY, diff)
        code.call(Helper.REPLACE_L4)


def send_to_fabric(code: Code) -> None:
    """End the program: the packet goes to its next hop."""
    code.load(Size.WORD, 1, ENTRY, entry.OUT)
    code.take(Op.MOV, 2, ENTRY)
    code.put(Op.ADD, 2, entry.NEXT_HOP)
    code.put(Op.MOV, 3, entry.NEXT_HOP_SIZE)
    code.put(Op.MOV, 4, 0)
    code.call(Helper.REDIRECT_TO_NEIGHBOUR)
    code.leave()


def count(code: Code, counted: int, candidates: int, otherwise: str) -> None:
    """Count a packet of a flow without an entry, and put the key of a flow that has
    many into the queue `candidates`. Goes on with what follows, or at `otherwise`.
    """
    code.label("fast path: count")
    look_up(code, counted, KEY)
    code.jump_if(If.UNEQUAL, 0, 0, "fast path: again")
    code.store_number(Size.DOUBLE, STACK, _ONE, 1)
    code.map(1, counted)
    at_stack(code, 2, KEY)
    at_stack(code, 3, _ONE)
    code.put(Op.MOV, 4, 0)
    code.call(Helper.UPDATE)
    code.jump(otherwise)
    code.label("fast path: again")
    code.put(Op.MOV, 1, 1)
    code.count_and_tell(0, 0, 1)
    code.put(Op.AND, 1, AGAIN - 1)
    code.jump_if(If.UNEQUAL, 1, THRESHOLD - 1, otherwise)
    code.map(1, candidates)
    at_stack(code, 2, KEY)
    code.put(Op.MOV, 3, 0)
    code.call(Helper.PUSH)


def _need(code: Code, otherwise: str, length: int) -> None:
    """Leave a frame that has fewer bytes than this at hand."""
    code.take(Op.MOV, 1, FRAME)
    code.put(Op.ADD, 1, length)
    code.jump_by(If.GREATER, 1, END, otherwise)


def _copy(code: Code, offset: int, field: int, words: int) -> None:
    for word in range(0, 4 * words, 4):
        code.load(Size.WORD, 1, ENTRY, offset + word)
        code.store(Size.WORD, FRAME, field + word, 1)
