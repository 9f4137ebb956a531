"""The identity of an IPv6 address: of a registered one what is entered for its place,
of a link-local one what follows from the guest's index (`vagent.ports.identity`).
"""

from __future__ import annotations

from typing import NamedTuple

from vagent.datapath.tap import layout
from vagent.datapath.tap.idioms import RESULT, STACK, look_up, put_wide, swap16
from vagent.datapath.tap.layout import Constants, GuestFlag, MapNumbers
from vagent.datapath.tap.up.frame import GUEST_KEY, NEW, PLACE, QUOTED, VALUE
from vagent.datapath.tap.up.ipv6_headers import WALK
from vagent.kernel.bpf_assembler import Code, If, Op, Size
from vagent.ports.identity import MAX_INDEX

SOURCE_IS_NEUTRAL, QUOTE_IS_NEUTRAL = 0x2000, 0x4000
"""Flags in WALK: no checksum changes with this address."""
_LINK_LOCAL = int.from_bytes(bytes.fromhex("fe80000000000000"), "little")


class Asked(NamedTuple):
    """Whose identity is looked for: a place on the stack. It is written `to` there, and
    `neutral` is the flag that WALK gets where the address is link-local.
    """

    name: str
    place: int
    to: int
    neutral: int


SOURCE = Asked("source", PLACE, NEW, SOURCE_IS_NEUTRAL)
QUOTE = Asked("quote", QUOTED, VALUE, QUOTE_IS_NEUTRAL)


def find_identity6(
    code: Code, constants: Constants, maps: MapNumbers, asked: Asked, *, absent: str
) -> None:
    """Write the identity; jump to `absent` where there is none."""
    link_local, found = f"{asked.name}: link-local", f"{asked.name}: found"
    look_up(code, maps.identity, asked.place)
    code.jump_if(If.EQUAL, RESULT, 0, link_local)
    for half in (0, 8):
        code.load(Size.DOUBLE, 1, RESULT, layout.IDENTITY_ADDRESS + half)
        code.store(Size.DOUBLE, STACK, asked.to + half, 1)
    code.jump(found)
    code.label(link_local)
    address = asked.place + layout.PLACE_ADDRESS
    code.load(Size.DOUBLE, 1, STACK, address)
    code.jump_if(If.UNEQUAL, 1, _LINK_LOCAL, absent)
    look_up(code, maps.guest, GUEST_KEY)
    code.jump_if(If.EQUAL, RESULT, 0, absent)
    code.load(Size.HALF, 1, RESULT, layout.GUEST_FLAGS)
    code.put(Op.AND, 1, GuestFlag.TAKES_LINK_LOCAL)
    code.jump_if(If.EQUAL, 1, 0, absent)
    _write_upper_half(code, constants, asked.to)
    code.load(Size.DOUBLE, 1, STACK, address + 8)
    code.store(Size.DOUBLE, STACK, asked.to + 8, 1)
    code.put(Op.OR, WALK, asked.neutral)
    code.label(found)


def _write_upper_half(code: Code, constants: Constants, to: int) -> None:
    """Prefix, index and its complement, of the guest whose value is at RESULT."""
    code.load(Size.WORD, 1, RESULT, layout.GUEST_INDEX)
    swap16(code, 1, 2)
    code.take(Op.MOV, 2, 1)
    code.put(Op.XOR, 2, MAX_INDEX)
    code.put(Op.LSH, 2, 16)
    code.take(Op.ADD, 1, 2)
    code.put(Op.LSH, 1, 32)
    prefix = int.from_bytes(constants.identity_prefix6, "little")
    put_wide(code, 2, prefix)
    code.take(Op.OR, 1, 2)
    code.store(Size.DOUBLE, STACK, to, 1)
