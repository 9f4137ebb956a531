"""ICMP errors from a guest: they quote a packet that went to the guest, whose address
becomes the identity in the quote, too. So the kernel finds the flow that it is about.

RFC 792 and RFC 4443 have the quoted packet begin eight bytes behind the ICMP header's
beginning; its first eight bytes behind the IP header are there, with the ports.
"""

from __future__ import annotations

from vagent.datapath.tap import layout
from vagent.datapath.tap.idioms import (
    CONTEXT,
    ETHERNET,
    RESULT,
    STACK,
    Helper,
    difference,
    load_bytes,
    load_bytes_at,
    look_up,
    network,
    store_bytes,
)
from vagent.datapath.tap.layout import Constants, DropReason, MapNumbers
from vagent.datapath.tap.up.frame import (
    END,
    HEADER,
    MORE,
    PLACE,
    QUOTED,
    VALUE,
    copy_address,
    refused,
    write_mapped,
)
from vagent.datapath.tap.up.identity6 import QUOTE, QUOTE_IS_NEUTRAL, find_identity6
from vagent.datapath.tap.up.ipv6_headers import FRAGMENT, OFFSET, WALK
from vagent.kernel.bpf_assembler import Code, If, Op, Size

_TRANSLATED = (3, 11)
"""Destination unreachable, time exceeded."""
_OTHERS = (4, 5, 12)
"""Source quench, redirect, parameter problem: they tell a service nothing it needs."""
_ICMP = ETHERNET + 20
_QUOTE = 8
"""Offset of the quoted packet in the message."""
_MIN_LENGTH = 20 + _QUOTE + 20 + 8
_FRAGMENTED = network(0x3FFF)
_QUOTED_SUM, _QUOTED_DESTINATION = _QUOTE + 10, _QUOTE + 16
_PLAIN = 0x45
"""IPv4 with a header of 20 bytes."""
_TRANSLATED6 = (1, 2, 3)
"""Destination unreachable, packet too big, time exceeded."""
_INFORMATIONAL = 0x80
"""Set in the types that are no errors (RFC 4443 2.1)."""
_ICMP6 = ETHERNET + 40
_QUOTED_DESTINATION6 = _QUOTE + 24
_MIN_END6 = _ICMP6 + _QUOTE + 40 + 8


def icmp_error(code: Code, maps: MapNumbers) -> None:
    """Translate an error, and refuse one that cannot be. Goes on where there is
    nothing to translate (any more). Register 8 is where the message begins in the
    packet, 2 the fragment field.
    """
    other = refused(DropReason.ICMP_ERROR)
    code.label("ipv4 icmp")
    code.take(Op.MOV, 1, 8)
    code.put(Op.ADD, 1, ETHERNET)
    load_bytes_at(code, 1, MORE, 1, "ipv4 without checksum")
    code.load(Size.BYTE, 1, STACK, MORE)
    for kind in _TRANSLATED:
        code.jump_if(If.EQUAL, 1, kind, "ipv4 about a flow")
    for kind in _OTHERS:
        code.jump_if(If.EQUAL, 1, kind, other)
    code.jump("ipv4 without checksum")
    code.label("ipv4 about a flow")
    _check(code, other)
    copy_place(code)
    code.load(Size.WORD, 1, STACK, MORE + _QUOTED_DESTINATION)
    write_mapped(code, QUOTED + layout.PLACE_ADDRESS, 1)
    look_up(code, maps.identity, QUOTED)
    code.jump_if(If.EQUAL, RESULT, 0, other)
    code.load(Size.WORD, 4, RESULT, layout.IDENTITY_ADDRESS + 12)
    code.store(Size.DOUBLE, STACK, VALUE, 4)
    # With its own header's checksum the quote adds up to what it did, so the message's
    # checksum stays.
    code.take(Op.MOV, 1, CONTEXT)
    code.put(Op.MOV, 2, _ICMP + _QUOTED_SUM)
    code.load(Size.WORD, 3, STACK, MORE + _QUOTED_DESTINATION)
    code.put(Op.MOV, 5, 4)
    code.call(Helper.REPLACE_L3)
    store_bytes(code, _ICMP + _QUOTED_DESTINATION, VALUE, 4)


def copy_place(code: Code) -> None:
    """Make QUOTED the same place but for the address."""
    for half in (0, 8):
        code.load(Size.DOUBLE, 1, STACK, PLACE + half)
        code.store(Size.DOUBLE, STACK, QUOTED + half, 1)


def _check(code: Code, other: str) -> None:
    """Packets without options and fragments, about such packets."""
    code.load(Size.BYTE, 1, STACK, HEADER)
    code.jump_if(If.UNEQUAL, 1, _PLAIN, other)
    code.load(Size.HALF, 1, STACK, HEADER + 6)
    code.jump_if(If.BITS, 1, _FRAGMENTED, other)
    code.load(Size.DOUBLE, 1, STACK, END)
    code.jump_if(If.LESS, 1, _MIN_LENGTH, other)
    load_bytes(code, _ICMP, MORE, _QUOTE + 20, other)
    code.load(Size.BYTE, 1, STACK, MORE + _QUOTE)
    code.jump_if(If.UNEQUAL, 1, _PLAIN, other)


def icmp6_error(code: Code, constants: Constants, maps: MapNumbers) -> None:
    """As `icmp_error`. The quote has no checksum that would make up for the change, so
    that of the message follows. OFFSET is where that is in the frame.
    """
    other = refused(DropReason.ICMP_ERROR)
    code.label("ipv6 error")
    code.take(Op.MOV, 1, OFFSET)
    code.put(Op.ADD, 1, -2)
    load_bytes_at(code, 1, MORE, 1, other)
    code.load(Size.BYTE, 1, STACK, MORE)
    code.jump_if(If.BITS, 1, _INFORMATIONAL, "ipv6 accepted")
    for kind in _TRANSLATED6:
        code.jump_if(If.EQUAL, 1, kind, "ipv6 about a flow")
    code.jump(other)
    code.label("ipv6 about a flow")
    code.jump_if(If.BITS, WALK, FRAGMENT, other)
    code.load(Size.DOUBLE, 1, STACK, END)
    code.jump_if(If.LESS, 1, _MIN_END6, other)
    load_bytes(code, _ICMP6, MORE, _QUOTE + 40, other)
    code.load(Size.BYTE, 1, STACK, MORE + _QUOTE)
    code.put(Op.AND, 1, 0xF0)
    code.jump_if(If.UNEQUAL, 1, 0x60, other)
    copy_place(code)
    quoted = MORE + _QUOTED_DESTINATION6
    copy_address(code, QUOTED + layout.PLACE_ADDRESS, quoted)
    find_identity6(code, constants, maps, QUOTE, absent=other)
    code.jump_if(If.BITS, WALK, QUOTE_IS_NEUTRAL, "ipv6 quote")
    difference(code, quoted, VALUE)
    code.take(Op.MOV, 4, RESULT)
    code.take(Op.MOV, 1, CONTEXT)
    code.take(Op.MOV, 2, OFFSET)
    code.put(Op.MOV, 3, 0)
    code.put(Op.MOV, 5, 0)
    code.call(Helper.REPLACE_L4)
    code.label("ipv6 quote")
    store_bytes(code, _ICMP6 + _QUOTED_DESTINATION6, VALUE, layout.ADDRESS_SIZE)
