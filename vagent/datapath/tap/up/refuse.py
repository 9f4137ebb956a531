"""The end of a frame that from_tap drops: it is counted for its guest, or else for the
tap, and told once a minute by its place and reason.
"""

from __future__ import annotations

from vagent.datapath.tap import layout
from vagent.datapath.tap.idioms import (
    DROP,
    RESULT,
    STACK,
    Helper,
    at_stack,
    leave,
    look_up,
    put_wide,
)
from vagent.datapath.tap.layout import DropReason, GuestFlag, MapNumbers
from vagent.datapath.tap.up.frame import (
    GUEST_KEY,
    NOW,
    PLACE,
    STRANGER,
    VALUE,
    WHERE,
    find_probe,
    refused,
    write_keys,
)
from vagent.kernel.bpf_assembler import Code, If, Op, Size

_REASON = 8
"""Register."""
_REASONS = [each for each in DropReason if each < DropReason.UNKNOWN_IDENTITY]
"""The others are those of frames towards guests."""


def refuse(code: Code, maps: MapNumbers) -> None:
    """The ends for each reason."""
    _stranger(code, maps)
    for reason in _REASONS:
        code.label(refused(reason))
        code.put(Op.MOV, _REASON, reason)
        code.jump("refuse")
    code.label("refuse")
    code.put(Op.LSH, _REASON, 8 * layout.PLACE_REASON)
    code.take(Op.ADD, WHERE, _REASON)
    write_keys(code)
    _end_probe(code, maps)
    _count(code, maps)
    remember(code, maps, "refusal", "drop")
    code.label("drop")
    leave(code, DROP)


def _stranger(code: Code, maps: MapNumbers) -> None:
    """The place is not registered. GUEST_KEY has been written."""
    code.label(STRANGER)
    look_up(code, maps.guest, GUEST_KEY)
    code.jump_if(If.EQUAL, RESULT, 0, refused(DropReason.SPOOFED))
    code.load(Size.HALF, 1, RESULT, layout.GUEST_FLAGS)
    code.jump_if(If.BITS, 1, GuestFlag.LEARNS, refused(DropReason.UNLEARNED))
    code.jump(refused(DropReason.SPOOFED))


def _end_probe(code: Code, maps: MapNumbers) -> None:
    """A frame of a probe is told of there, and counted for nobody."""
    find_probe(code, maps, "refuse a guest's")
    code.load(Size.BYTE, 1, STACK, PLACE + layout.PLACE_REASON)
    code.store(Size.DOUBLE, RESULT, layout.PROBE_REFUSED, 1)
    code.jump("drop")
    code.label("refuse a guest's")


def _count(code: Code, maps: MapNumbers) -> None:
    """By the reason as it stands in PLACE: so the verifier does not know it, and goes
    through this once, not once for each reason. An offset that depends on it would cost
    more there: a program that lacks CAP_PERFMON has all its ways tried one by one then.
    """
    look_up(code, maps.guest, GUEST_KEY)
    code.load(Size.BYTE, _REASON, STACK, PLACE + layout.PLACE_REASON)
    code.jump_if(If.EQUAL, RESULT, 0, "count for the tap")
    _count_at(code, "guest", layout.GUEST_DROPS)
    code.label("count for the tap")
    look_up(code, maps.tap, PLACE)  # whose first four bytes are the interface
    code.jump_if(If.EQUAL, RESULT, 0, "counted")
    _count_at(code, "tap", 0)
    code.label("counted")


def _count_at(code: Code, whose: str, drops: int) -> None:
    code.put(Op.MOV, 1, 1)
    for reason in _REASONS:
        code.jump_if(If.UNEQUAL, _REASON, reason, f"not the {whose}'s {reason.name}")
        code.count(RESULT, drops + 8 * reason, 1)
        code.jump("counted")
        code.label(f"not the {whose}'s {reason.name}")


def remember(code: Code, maps: MapNumbers, name: str, end: str) -> None:
    """Count the frame for PLACE, which has a reason, and tell it where that is new.
    `name` makes the labels, the last of which, `end`, comes next.
    """
    code.call(Helper.CLOCK)
    code.store(Size.DOUBLE, STACK, NOW, RESULT)
    look_up(code, maps.refused, PLACE)
    code.jump_if(If.EQUAL, RESULT, 0, f"first {name}")
    code.put(Op.MOV, 1, 1)
    code.count(RESULT, layout.REFUSED_PACKETS, 1)
    code.load(Size.DOUBLE, 1, STACK, NOW)
    code.load(Size.DOUBLE, 2, RESULT, layout.REFUSED_LAST)
    code.store(Size.DOUBLE, RESULT, layout.REFUSED_LAST, 1)
    put_wide(code, 3, layout.NEWS_AGAIN)
    code.take(Op.ADD, 2, 3)
    code.jump_by(If.GREATER, 1, 2, f"{name} is news")
    code.jump(end)
    code.label(f"first {name}")
    code.store_number(Size.DOUBLE, STACK, VALUE + layout.REFUSED_PACKETS, 1)
    code.load(Size.DOUBLE, 1, STACK, NOW)
    code.store(Size.DOUBLE, STACK, VALUE + layout.REFUSED_LAST, 1)
    code.map(1, maps.refused)
    at_stack(code, 2, PLACE)
    at_stack(code, 3, VALUE)
    code.put(Op.MOV, 4, 0)
    code.call(Helper.UPDATE)
    code.label(f"{name} is news")
    code.map(1, maps.news)
    at_stack(code, 2, PLACE)
    code.put(Op.MOV, 3, 0)
    code.call(Helper.PUSH)
