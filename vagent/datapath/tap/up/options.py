"""Options of an IPv4 packet from a guest that is for somebody else.

A source route (RFC 791) names where a packet goes on from its destination: a host that
takes such packets would send it to a service in the guest's place, and its own answer
too. So a packet whose options hold a service address is dropped, wherever in them it
stands and whatever the option is.
"""

from __future__ import annotations

from vagent.datapath.tap.idioms import (
    ETHERNET,
    RESULT,
    STACK,
    TAG_SIZE,
    load_bytes_at,
    look_up,
)
from vagent.datapath.tap.layout import DropReason, MapNumbers
from vagent.datapath.tap.up.frame import (
    HEADER,
    LET_PASS,
    MORE,
    TARGET,
    refused,
    write_mapped,
)
from vagent.kernel.bpf_assembler import Code, If, Op, Size

FOR_OTHERS, STACKED_FOR_OTHERS = "ipv4 for others", "stacked ipv4 for others"
"""Labels: the packet's source and destination are no services; likewise behind a tag in
the frame, and its header stands at MORE.
"""
_LEAST, _MOST, _WORD = 5, 15, 4
"""Words of a header without options and of the longest one; bytes of a word."""
_COUNT = 8
"""Register: words of the header."""
_AT, _WINDOW = 9, 9
"""Register: where in the frame the next word is; then four bytes in a row."""


def options(code: Code, maps: MapNumbers) -> None:
    """The stage. A packet that ends within its header passes: nobody takes it."""
    code.label(STACKED_FOR_OTHERS)
    code.load(Size.BYTE, _COUNT, STACK, MORE)
    code.put(Op.MOV, _AT, ETHERNET + TAG_SIZE + _WORD * _LEAST)
    code.jump("ipv4 options")
    code.label(FOR_OTHERS)
    code.load(Size.BYTE, _COUNT, STACK, HEADER)
    code.put(Op.MOV, _AT, ETHERNET + _WORD * _LEAST)
    code.label("ipv4 options")
    code.put(Op.AND, _COUNT, 0x0F)
    code.jump_if(If.AT_MOST, _COUNT, _LEAST, LET_PASS)
    _read(code)
    _look_for_services(code, maps)
    code.jump(LET_PASS)


def _read(code: Code) -> None:
    """Read them to MORE, and zeros behind them."""
    for at in range(0, _WORD * (_MOST - _LEAST), 8):
        code.store_number(Size.DOUBLE, STACK, MORE + at, 0)
    for number in range(_MOST - _LEAST):
        code.jump_if(If.AT_MOST, _COUNT, _LEAST + number, "ipv4 options read")
        load_bytes_at(code, _AT, MORE + _WORD * number, _WORD, LET_PASS)
        code.put(Op.ADD, _AT, _WORD)
    code.label("ipv4 options read")


def _look_for_services(code: Code, maps: MapNumbers) -> None:
    """Any four bytes in a row: an option may begin anywhere."""
    code.put(Op.MOV, _WINDOW, 0)
    for at in range(_WORD * (_MOST - _LEAST)):
        code.load(Size.BYTE, 1, STACK, MORE + at)
        code.put(Op.LSH, 1, 24)
        code.put(Op.RSH, _WINDOW, 8)
        code.take(Op.ADD, _WINDOW, 1)
        if at >= _WORD - 1:
            code.take(Op.MOV, 1, _WINDOW)
            write_mapped(code, TARGET, 1)
            look_up(code, maps.service, TARGET)
            code.jump_if(If.UNEQUAL, RESULT, 0, refused(DropReason.EXTENSION_HEADER))
