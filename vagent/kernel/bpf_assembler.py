"""A small assembler with labels for eBPF instructions (RFC 9669).

It has only the instructions that the fast path needs.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from vagent.errors import KernelError

_INSTRUCTION = struct.Struct("<BBhi")
_MAP_FD, _MAP_VALUE = 1, 2
_FETCH = 1


class Size(IntEnum):
    """How many bits are loaded or stored: 32, 16, 8 or 64."""

    WORD = 0x00
    HALF = 0x08
    BYTE = 0x10
    DOUBLE = 0x18


class Op(IntEnum):
    """Arithmetic and logic on registers of 64 bits."""

    ADD = 0x00
    AND = 0x50
    OR = 0x40
    LSH = 0x60
    RSH = 0x70
    XOR = 0xA0
    MOV = 0xB0


class If(IntEnum):
    """Condition of a jump. Comparisons are unsigned; BITS: any of these bits is set."""

    EQUAL = 0x10
    GREATER = 0x20
    BITS = 0x40
    UNEQUAL = 0x50
    LESS = 0xA0
    AT_MOST = 0xB0


@dataclass(slots=True)
class Code:
    """A list of instructions that grows. Registers are numbers: 1 to 5 hold the
    arguments of a call and are lost by it, 0 gets its result, 6 to 9 keep their values,
    and 10 points to the end of the stack.
    """

    _made: list[tuple[int, int, int, int | str, int]] = field(default_factory=list)
    _labels: dict[str, int] = field(default_factory=dict)

    def label(self, name: str) -> None:
        """Jumps to `name` lead to the next instruction. Raises KernelError where there
        is such a label already.
        """
        if name in self._labels:
            raise KernelError(f"label {name} stands twice")
        self._labels[name] = len(self._made)

    def put(self, op: Op, to: int, number: int) -> None:
        """`to` op= number, which has 32 bits and is sign-extended."""
        self._add(0x07 | op, to, number=number)

    def take(self, op: Op, to: int, register: int) -> None:
        """`to` op= register."""
        self._add(0x0F | op, to, register)

    def load(self, size: Size, to: int, where: int, offset: int) -> None:
        """`to` = what is at `where` + offset."""
        self._add(0x61 | size, to, where, offset)

    def store(self, size: Size, where: int, offset: int, register: int) -> None:
        """What is at `where` + offset = register."""
        self._add(0x63 | size, where, register, offset)

    def store_number(self, size: Size, where: int, offset: int, number: int) -> None:
        """What is at `where` + offset = number."""
        self._add(0x62 | size, where, 0, offset, number)

    def count(self, where: int, offset: int, register: int) -> None:
        """Add a register to the 64 bits at `where` + offset, atomically."""
        self._add(0xDB, where, register, offset)

    def count_and_tell(self, where: int, offset: int, register: int) -> None:
        """As `count`; the register gets the value from before (since Linux 5.12)."""
        self._add(0xDB, where, register, offset, _FETCH)

    def jump(self, label: str) -> None:
        """Jump to a label."""
        self._add(0x05, 0, 0, label)

    def jump_if(self, condition: If, register: int, number: int, label: str) -> None:
        """Jump if the condition holds for a register and a number."""
        self._add(0x05 | condition, register, 0, label, number)

    def jump_by(self, condition: If, register: int, other: int, label: str) -> None:
        """Jump if the condition holds for two registers."""
        self._add(0x0D | condition, register, other, label)

    def map(self, to: int, descriptor: int) -> None:
        """`to` = the map with this descriptor, as an argument of a call."""
        self._wide(to, _MAP_FD, descriptor)

    def map_value(self, to: int, descriptor: int) -> None:
        """`to` = address of the only value of an array map (since Linux 5.2)."""
        self._wide(to, _MAP_VALUE, descriptor)

    def call(self, function: int) -> None:
        """Call a helper of the kernel (linux/bpf.h, enum bpf_func_id)."""
        self._add(0x85, number=function)

    def leave(self) -> None:
        """End the program; register 0 is its result."""
        self._add(0x95)

    def assembled(self) -> bytes:
        """The program as bytes. Raises KernelError for a jump to a missing label."""
        return b"".join(
            _INSTRUCTION.pack(
                code, to | source << 4, self._distance(number, offset), _signed(value)
            )
            for number, (code, to, source, offset, value) in enumerate(self._made)
        )

    def _distance(self, number: int, offset: int | str) -> int:
        if isinstance(offset, int):
            return offset
        if offset not in self._labels:
            raise KernelError(f"no label {offset}")
        return self._labels[offset] - number - 1

    def _wide(self, to: int, kind: int, value: int) -> None:
        """Load 64 bits: the only instruction that takes two slots."""
        self._add(0x18, to, kind, 0, value)
        self._add(0)

    def _add(
        self,
        code: int,
        to: int = 0,
        source: int = 0,
        offset: int | str = 0,
        number: int = 0,
    ) -> None:
        self._made.append((code, to, source, offset, number))


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value
