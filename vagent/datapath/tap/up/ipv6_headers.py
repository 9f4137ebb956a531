"""The walk through the headers of an IPv6 packet from a guest, up to the transport's.

At most six extension headers are looked through. A packet with more is dropped, for
whom it may be: nobody sends such packets, and behind them somebody could claim to be a
service. So are first fragments that do not have all headers in them (RFC 7112).
"""

from __future__ import annotations

from vagent.datapath.tap.idioms import STACK, forget, load_bytes_at, network
from vagent.datapath.tap.layout import DropReason
from vagent.datapath.tap.up.frame import LET_PASS, MORE, STATE, refused
from vagent.kernel.bpf_assembler import Code, If, Op, Size
from vagent.kernel.ip_packet import ICMP6, TCP, UDP

HOP_BY_HOP, _FRAGMENTED, _AUTHENTICATION = 0, 44, 51
EXTENSION_HEADERS = (
    HOP_BY_HOP,
    43,
    _FRAGMENTED,
    _AUTHENTICATION,
    60,
    135,
    139,
    140,
)
"""Hop-by-hop options, routing, fragment, authentication, destination options, mobility,
host identity, shim6 (IANA)."""
_MAX_HEADERS = 6
_FRAGMENT_OFFSET, _MORE = network(0xFFF8), network(0x0001)

OFFSET, WALK = 8, 9
"""Registers: where in the frame the next header is; its kind, with flags."""
ABOUT_US, EXTENDED, FRAGMENT, FIRST_FRAGMENT, LATER = 0x100, 0x200, 0x400, 0x800, 0x1000
"""Flags: the packet is for a service; it has extension headers other than a fragment
header at the beginning; it has a fragment header; it is the first of several fragments;
it is another one of them."""
KIND = 0xFF
CUT = "ipv6 cut"
"""Label: the frame or fragment ends in its headers."""


def walk(code: Code) -> None:
    """Go on with OFFSET and WALK at the transport header, whose kind is in register 1.
    In a later fragment there is none.
    """
    for number in range(_MAX_HEADERS + 1):
        code.take(Op.MOV, 1, WALK)
        code.put(Op.AND, 1, KIND)
        for kind in (TCP, UDP, ICMP6):
            code.jump_if(If.EQUAL, 1, kind, "ipv6 walked")
        for kind in EXTENSION_HEADERS:
            code.jump_if(If.EQUAL, 1, kind, f"ipv6 header {number}")
        code.jump("ipv6 walked")
        code.label(f"ipv6 header {number}")
        if number < _MAX_HEADERS:
            _skip(code, number)
    code.jump(refused(DropReason.EXTENSION_HEADER))
    code.label(CUT)
    code.jump_if(If.BITS, WALK, FIRST_FRAGMENT, refused(DropReason.FRAGMENT))
    code.jump_if(If.BITS, WALK, ABOUT_US, refused(DropReason.MALFORMED))
    code.jump(LET_PASS)
    code.label("ipv6 later fragment")
    code.put(Op.OR, WALK, LATER)
    for kind in EXTENSION_HEADERS:
        code.jump_if(If.EQUAL, 1, kind, "ipv6 extended later fragment")
    code.jump("ipv6 walked")
    code.label("ipv6 extended later fragment")
    code.put(Op.OR, WALK, EXTENDED)
    code.label("ipv6 walked")
    for register in (OFFSET, WALK):
        forget(code, register, STATE)


def _skip(code: Code, number: int) -> None:
    """Pass one extension header."""
    load_bytes_at(code, OFFSET, MORE, 8, CUT)
    code.take(Op.MOV, 2, WALK)
    code.put(Op.AND, 2, KIND)
    code.put(Op.AND, WALK, ~KIND)
    code.load(Size.BYTE, 1, STACK, MORE)
    code.take(Op.OR, WALK, 1)
    code.jump_if(If.EQUAL, 2, _FRAGMENTED, f"ipv6 fragment {number}")
    code.put(Op.OR, WALK, EXTENDED)
    code.load(Size.BYTE, 1, STACK, MORE + 1)
    code.jump_if(If.EQUAL, 2, _AUTHENTICATION, f"ipv6 authentication {number}")
    code.put(Op.ADD, 1, 1)
    code.put(Op.LSH, 1, 3)
    code.take(Op.ADD, OFFSET, 1)
    code.jump(f"ipv6 behind {number}")
    code.label(f"ipv6 authentication {number}")  # counts words, less two (RFC 4302 2.2)
    code.put(Op.ADD, 1, 2)
    code.put(Op.LSH, 1, 2)
    code.take(Op.ADD, OFFSET, 1)
    code.jump(f"ipv6 behind {number}")
    code.label(f"ipv6 fragment {number}")
    code.put(Op.OR, WALK, FRAGMENT if number == 0 else FRAGMENT | EXTENDED)
    code.put(Op.ADD, OFFSET, 8)
    code.load(Size.HALF, 2, STACK, MORE + 2)
    code.jump_if(If.BITS, 2, _FRAGMENT_OFFSET, "ipv6 later fragment")
    code.jump_if(If.BITS, 2, _MORE, f"ipv6 first fragment {number}")
    code.jump(f"ipv6 behind {number}")
    code.label(f"ipv6 first fragment {number}")
    code.put(Op.OR, WALK, FIRST_FRAGMENT)
    code.label(f"ipv6 behind {number}")
    for register in (OFFSET, WALK):
        forget(code, register, STATE)
