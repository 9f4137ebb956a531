"""What the stages of the tap programs have in common: registers, the kernel's helpers,
and the few lines of code that all of them need.

Register 6 is the context (struct __sk_buff) all the time. Headers are read by the
kernel's helper onto the stack, so a packet need not be in one piece. The stack is read
and written in aligned pieces, keys in double words: the verifier of Linux 6.1, where
the program lacks CAP_PERFMON, refuses to have half of a written word written again.
"""

from __future__ import annotations

import socket
from enum import IntEnum

from vagent.kernel.bpf_assembler import Code, If, Op, Size

PASS, DROP = 0xFFFFFFFF, 2
"""What the program says: go on as if it were not there (TC_ACT_UNSPEC, TCX_NEXT), or
drop the frame (TC_ACT_SHOT)."""

RESULT, CONTEXT, STACK = 0, 6, 10
"""Registers."""


class Helper(IntEnum):
    """Functions of the kernel (linux/bpf.h, enum bpf_func_id)."""

    LOOKUP = 1
    UPDATE = 2
    CLOCK = 5
    STORE_BYTES = 9
    REPLACE_L3 = 10
    REPLACE_L4 = 11
    PUSH_TAG = 18
    POP_TAG = 19
    REDIRECT = 23
    LOAD_BYTES = 26
    DIFFERENCE = 28
    CHANGE_TAIL = 38
    PUSH = 87
    REDIRECT_TO_NEIGHBOUR = 152


class Skb(IntEnum):
    """Offsets in the context (linux/bpf.h, struct __sk_buff)."""

    LENGTH = 0
    PACKET_TYPE = 4
    MARK = 8
    PROTOCOL = 16
    HAS_TAG = 20
    TAG = 24
    TAG_TYPE = 28
    IFINDEX = 40
    DATA = 76
    DATA_END = 80
    SEGMENT = 176


PSEUDO_HEADER, ZERO_MEANS_NONE = 0x10, 0x20
"""Flags of REPLACE_L4: the pseudo header changes; 0 means no checksum (UDP)."""
WITH_SUM = 1
"""Flag of STORE_BYTES: a sum over the whole packet that a network card has made follows
(CHECKSUM_COMPLETE). It must where no other write makes up for this one."""

ETHERNET = 14
TO_MAC, FROM_MAC, TYPE = 0, 6, 12
"""Offsets in the frame."""
TAG_SIZE = 4
TYPE_IPV4, TYPE_ARP, TYPE_IPV6, TYPE_TAG = 0x0800, 0x0806, 0x86DD, 0x8100
TYPE_SERVICE_TAG = 0x88A8
MAC_SIZE = 6


def network(number: int) -> int:
    """16 bits as the program reads them from a header."""
    return socket.htons(number)


def put_wide(code: Code, to: int, number: int) -> None:
    """`to` = a number of 64 bits."""
    lower = number & 0xFFFFFFFF
    lower -= (lower & 0x80000000) << 1
    code.put(Op.MOV, to, number - lower >> 32 & 0xFFFFFFFF)
    code.put(Op.LSH, to, 32)
    code.put(Op.ADD, to, lower)


def at_stack(code: Code, to: int, offset: int) -> None:
    """`to` = address of a place on the stack."""
    code.take(Op.MOV, to, STACK)
    code.put(Op.ADD, to, offset)


def look_up(code: Code, descriptor: int, key: int) -> None:
    """RESULT = address of the value under a key on the stack, or 0."""
    code.map(1, descriptor)
    at_stack(code, 2, key)
    code.call(Helper.LOOKUP)


def load_bytes(code: Code, offset: int, to: int, length: int, absent: str) -> None:
    """Read bytes of the frame onto the stack; jump where there are fewer."""
    code.put(Op.MOV, 2, offset)
    load_bytes_at(code, 2, to, length, absent)


def load_bytes_at(code: Code, register: int, to: int, length: int, absent: str) -> None:
    """As `load_bytes`, from an offset that is in a register."""
    if register != 2:
        code.take(Op.MOV, 2, register)
    code.take(Op.MOV, 1, CONTEXT)
    at_stack(code, 3, to)
    code.put(Op.MOV, 4, length)
    code.call(Helper.LOAD_BYTES)
    code.jump_if(If.UNEQUAL, RESULT, 0, absent)


def store_bytes(code: Code, offset: int, source: int, length: int) -> None:
    """Write bytes from the stack into the frame."""
    at_stack(code, 3, source)
    code.put(Op.MOV, 2, offset)
    store_bytes_at(code, length)


def store_bytes_at(code: Code, length: int, flags: int = 0) -> None:
    """Write bytes into the frame: register 2 is the offset, 3 where they are."""
    code.take(Op.MOV, 1, CONTEXT)
    code.put(Op.MOV, 4, length)
    code.put(Op.MOV, 5, flags)
    code.call(Helper.STORE_BYTES)


def difference(code: Code, old: int, new: int) -> None:
    """RESULT = by how much a sum grows when 16 bytes on the stack take the place of
    others.
    """
    at_stack(code, 1, old)
    code.put(Op.MOV, 2, 16)
    at_stack(code, 3, new)
    code.put(Op.MOV, 4, 16)
    code.put(Op.MOV, 5, 0)
    code.call(Helper.DIFFERENCE)


def write_constant(code: Code, where: int, data: bytes) -> None:
    """Write constant bytes onto the stack, filled up with zeros to double words."""
    for at in range(0, len(data), 8):
        put_wide(code, 1, int.from_bytes(data[at : at + 8], "little"))
        code.store(Size.DOUBLE, STACK, where + at, 1)


def swap16(code: Code, register: int, scratch: int) -> None:
    """Turn 16 bits from network byte order into the machine's, or back."""
    code.take(Op.MOV, scratch, register)
    code.put(Op.RSH, scratch, 8)
    code.put(Op.AND, register, 0xFF)
    code.put(Op.LSH, register, 8)
    code.take(Op.ADD, register, scratch)


def forget(code: Code, register: int, scratch: int) -> None:
    """Make the verifier forget what it knows of a register of 32 bits; `scratch` is a
    double word on the stack. It goes through what follows once then, not once for each
    way that leads here.
    """
    code.put(Op.LSH, register, 32)
    code.store(Size.DOUBLE, STACK, scratch, register)
    code.load(Size.WORD, register, STACK, scratch + 4)


def leave(code: Code, verdict: int) -> None:
    """End the program."""
    code.put(Op.MOV, RESULT, verdict)
    code.leave()
