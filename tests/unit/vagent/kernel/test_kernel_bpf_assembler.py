"""Instructions as bytes, as the kernel's own headers define them."""

from __future__ import annotations

import pytest

from vagent.errors import KernelError
from vagent.kernel.bpf_assembler import Code, If, Op, Size


def made(write: object) -> str:
    code = Code()
    write(code)  # type: ignore[operator]
    return code.assembled().hex(" ", 8)


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (lambda c: c.put(Op.MOV, 0, 0xFFFFFFFF), "b7000000ffffffff"),
        (lambda c: c.put(Op.ADD, 2, -24), "07020000e8ffffff"),
        (lambda c: c.take(Op.MOV, 6, 1), "bf16000000000000"),
        (lambda c: c.load(Size.WORD, 7, 6, 76), "61674c0000000000"),
        (lambda c: c.load(Size.DOUBLE, 1, 9, 0), "7991000000000000"),
        (lambda c: c.store(Size.HALF, 10, -16, 1), "6b1af0ff00000000"),
        (lambda c: c.store_number(Size.WORD, 10, -20, 0), "620aecff00000000"),
        (lambda c: c.count(9, 8, 1), "db19080000000000"),
        (lambda c: c.count_and_tell(0, 0, 1), "db10000001000000"),
        (lambda c: c.map(1, 7), "1811000007000000 0000000000000000"),
        (lambda c: c.map_value(1, 7), "1821000007000000 0000000000000000"),
        (lambda c: c.call(23), "8500000017000000"),
        (lambda c: c.leave(), "9500000000000000"),
    ],
)
def test_instructions(write: object, expected: str) -> None:
    assert made(write) == expected


def test_jumps_count_from_the_next_instruction() -> None:
    """Forward and back; a wide instruction is two."""
    code = Code()
    code.label("here")
    code.jump_if(If.EQUAL, 2, 17, "there")
    code.map(1, 7)
    code.jump_by(If.GREATER, 1, 8, "here")
    code.label("there")
    code.jump("here")
    first, *_, back, last = code.assembled().hex(" ", 8).split()
    assert first == "1502030011000000"
    assert back == "2d81fcff00000000"
    assert last == "0500fbff00000000"


def test_a_jump_needs_one_aim() -> None:
    code = Code()
    code.jump("nowhere")
    with pytest.raises(KernelError, match="nowhere"):
        code.assembled()
    code.label("here")
    with pytest.raises(KernelError, match="twice"):
        code.label("here")
