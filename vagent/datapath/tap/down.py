"""What the stages of to_tap share: registers, stack, calls and the ends of a frame."""

from __future__ import annotations

from vagent.datapath.tap import layout
from vagent.datapath.tap.idioms import (
    CONTEXT,
    ETHERNET,
    STACK,
    Helper,
    Skb,
    load_bytes_at,
    look_up,
)
from vagent.datapath.tap.layout import DropReason, MapNumbers
from vagent.kernel.bpf_assembler import Code, If, Op, Size

REPLY, TRANSPORT, PROTOCOL = 7, 8, 9
"""Registers: the value of the frame's guest in the map `reply`, where in the frame the
transport header begins, and which protocol that is of."""

HEADER, ADDRESS, DIFFERENCE, KEY, MACS, FRAGMENT, ICMP = (
    *(-40, -56, -64, -72, -88, -96),
    -152,
)
"""On the stack: the IP header; the guest's IPv6 address, and by how much checksums grow
with it; a key; both MAC addresses; an IPv6 fragment header; the start of an ICMP
message, with what it quotes."""

TCP_SUM, UDP_SUM, ICMP6_SUM = 16, 6, 2
"""Offsets of the checksum in the transport header."""

UNCOUNTED = "uncounted"
"""Label of the end of a frame that is dropped without being counted."""
SEND = "send"
"""Label of the end of a frame whose IP addresses are the guest's."""


def lost(reason: DropReason) -> str:
    """Label of the end of a frame that is dropped for this reason."""
    return f"lost: {reason.name}"


def read(code: Code, place: int, length: int, *, short: str) -> None:
    """Read bytes of the frame, from the offset in register 2 on, onto the stack; go to
    `short` where the frame ends before.
    """
    load_bytes_at(code, 2, place, length, short)


def load_number(code: Code, place: int, length: int) -> None:
    """Register 1 = the number at a place on the stack, in network byte order. Register
    2 is lost.
    """
    code.load(Size.BYTE, 1, STACK, place)
    for at in range(1, length):
        code.put(Op.LSH, 1, 8)
        code.load(Size.BYTE, 2, STACK, place + at)
        code.take(Op.ADD, 1, 2)


def in_transport(code: Code, offset: int) -> None:
    """Register 2 = offset in the frame of what has this offset in the transport
    header.
    """
    code.take(Op.MOV, 2, TRANSPORT)
    code.put(Op.ADD, 2, offset)


def replace_checksum(code: Code, *, short: str) -> None:
    """Update the transport's checksum, at the offset in register 2, from register 3 to
    register 4, with the flags in register 5. The kernel alone knows whether the sender
    has left it to the interface, and it is incomplete yet.
    """
    code.take(Op.MOV, 1, CONTEXT)
    code.call(Helper.REPLACE_L4)
    code.jump_if(If.UNEQUAL, 0, 0, short)


def find_guest(code: Code, maps: MapNumbers) -> None:
    """Find the guest whose index is at KEY."""
    look_up(code, maps.reply, KEY)
    code.jump_if(If.EQUAL, 0, 0, lost(DropReason.UNKNOWN_IDENTITY))
    code.take(Op.MOV, REPLY, 0)


def demand(code: Code, flag: int) -> None:
    """Go on only for a guest that has this flag."""
    code.load(Size.WORD, 1, REPLY, layout.REPLY_FLAGS)
    code.put(Op.AND, 1, flag)
    code.jump_if(If.EQUAL, 1, 0, lost(DropReason.UNKNOWN_IDENTITY))


def fit(code: Code, family: str) -> None:
    """Refuse a packet that is longer than the tap's MTU. One that the interface cuts
    into segments (GSO) has segments of a length that the route allowed.
    """
    code.load(Size.WORD, 1, CONTEXT, Skb.SEGMENT)
    code.jump_if(If.UNEQUAL, 1, 0, f"{family} fits")
    code.load(Size.WORD, 1, CONTEXT, Skb.LENGTH)
    code.put(Op.ADD, 1, -ETHERNET)
    code.load(Size.WORD, 2, REPLY, layout.REPLY_MTU)
    code.jump_by(If.GREATER, 1, 2, lost(DropReason.TOO_BIG))
    code.label(f"{family} fits")
