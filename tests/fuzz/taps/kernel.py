"""The programs at the taps in the kernel, with the maps of a world.

A test run (BPF_PROG_TEST_RUN) knows no tag beside the frame, and refuses a frame that
is too short for its Ethernet type: some instructions in front of a program push the tag
and cut the frame as the notes of the context ask, and some behind it note the tag that
is there in the end.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

from tests.fuzz.taps.world import Outcome, Sender, Tag, Verdict, World
from vagent.datapath.tap import layout
from vagent.datapath.tap.from_tap import from_tap
from vagent.datapath.tap.layout import ANNOUNCED, Address, DropReason, MapNumbers
from vagent.datapath.tap.to_tap import to_tap
from vagent.kernel import bpf
from vagent.kernel.bpf import BpfMap
from vagent.kernel.bpf_assembler import Code, If, Op, Size

LOOPBACK = 1
"""The interface by which frames of a test run come in."""
_CALL = {"x86_64": 321, "aarch64": 280}
_TEST_RUN = 10
_PUSH_TAG, _CHANGE_TAIL = 18, 38
_LEAST = 60
"""Bytes of the shortest frame that a test run takes in any case."""
_EXIT, _JUMP = 0x95, 0x05
_ROOM = 256
_SMALL = 256
"""Entries of a map."""

# Offsets in struct __sk_buff (linux/bpf.h), of which NOTES are 20 bytes for whoever
# runs a program.
_SIZE = 192
_MARK, _HAS_TAG, _TAG, _KIND, _NOTES, _SEGMENT = 8, 20, 24, 28, 48, 176
_CONTEXT = 6
"""Register, in both programs."""


class Done(NamedTuple):
    """What a program made of a frame, and how often it counted it, for whom."""

    outcome: Outcome
    mark: int
    packets: int
    counted: dict[DropReason, int]


class Taps:
    """Both programs, loaded."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._maps = {
            name: BpfMap(
                form.kind,
                key=form.key,
                value=form.value,
                entries=min(form.entries, _SMALL),
            )
            for name, form in layout.MAPS.items()
        }
        numbers = MapNumbers(
            **{name: each.descriptor for name, each in self._maps.items()}
        )
        self._up = bpf.load(_with_tags(from_tap(world.constants, numbers)))
        self._down = bpf.load(_with_tags(to_tap(world.constants, numbers)))
        for address in world.services:
            self._maps["service"].write(*layout.encode_service(address))
        for place, entry in world.identities.items():
            value = layout.encode_identity(entry)
            self._maps["identity"].write(layout.encode_place(place), value)
        for index, reply in world.replies.items():
            key = layout.encode_number(index)
            self._maps["reply"].write(key, layout.encode_reply(reply))

    def close(self) -> None:
        """Free all of it."""
        for each in self._maps.values():
            each.close()
        os.close(self._up)
        os.close(self._down)

    def up(self, frame: bytes, tag: Tag | None, sender: Sender) -> Done:
        """What from_tap makes of it."""
        for key, guest in self.world.guests.items():
            self._maps["guest"].write(
                layout.encode_guest_key(*key), layout.encode_guest(guest)
            )
        tap = layout.encode_number(LOOPBACK)
        self._maps["tap"].write(tap, layout.encode_drops())
        said, after, beside, mark = _run(self._up, frame, tag, 0)
        value = self._maps["guest"].read(layout.encode_guest_key(*sender))
        drops = layout.decode_drops(self._maps["tap"].read(tap) or b"")
        packets = 0
        if value is not None:
            assert not any(drops), "a drop of a guest was counted for its tap"
            drops = layout.decode_guest(value).drops
            packets = layout.decode_guest(value).packets
        done = self._done(said, after, beside, mark, packets, drops)
        outcome = done.outcome._replace(announced=self._announced(sender))
        return done._replace(outcome=outcome)

    def _announced(self, sender: Sender) -> Address | None:
        """What the program tells of the sender. It is forgotten, to be told again."""
        found: Address | None = None
        while (value := self._maps["news"].take()) is not None:
            self._maps["refused"].delete(value)
            place = layout.decode_place(value)
            if place.reason == ANNOUNCED:
                assert place[:3] == sender
                found = place.address
        return found

    def down(self, frame: bytes, tag: Tag | None, segment: int) -> Done:
        """What to_tap makes of it."""
        lost = self._maps["lost"]
        for reason in DropReason:
            lost.write(layout.encode_number(reason), bytes(8))
        said, after, beside, mark = _run(self._down, frame, tag, segment)
        drops = [0] * layout.REASONS
        for reason in DropReason:
            value = lost.read(layout.encode_number(reason)) or b""
            (drops[reason],) = struct.unpack("=Q", value)
        return self._done(said, after, beside, mark, 0, tuple(drops))

    def _done(
        self,
        said: int,
        after: bytes,
        beside: Tag | None,
        mark: int,
        packets: int,
        drops: tuple[int, ...],
    ) -> Done:
        counted = {DropReason(at): count for at, count in enumerate(drops) if count}
        if said == Verdict.DROP:
            reason = next(iter(counted), None)
            return Done(Outcome(Verdict.DROP, reason=reason), 0, packets, counted)
        outcome = Outcome(Verdict(said), after, beside)
        return Done(outcome, mark, packets, counted)


def _with_tags(program: bytes) -> bytes:
    before = Code()
    before.take(Op.MOV, _CONTEXT, 1)
    before.load(Size.WORD, 2, _CONTEXT, _NOTES + 8)
    before.jump_if(If.EQUAL, 2, 0, "whole")
    before.put(Op.MOV, 3, 0)
    before.call(_CHANGE_TAIL)
    before.label("whole")
    before.load(Size.WORD, 2, _CONTEXT, _NOTES)
    before.jump_if(If.EQUAL, 2, 0, "untagged")
    before.take(Op.MOV, 1, _CONTEXT)
    before.load(Size.WORD, 3, _CONTEXT, _NOTES + 4)
    before.call(_PUSH_TAG)
    before.label("untagged")
    before.take(Op.MOV, 1, _CONTEXT)
    behind = Code()
    behind.load(Size.WORD, 1, _CONTEXT, _HAS_TAG)
    behind.store(Size.WORD, _CONTEXT, _NOTES, 1)
    behind.load(Size.WORD, 1, _CONTEXT, _TAG)
    behind.store(Size.WORD, _CONTEXT, _NOTES + 4, 1)
    behind.load(Size.WORD, 1, _CONTEXT, _KIND)
    behind.store(Size.WORD, _CONTEXT, _NOTES + 8, 1)
    behind.leave()
    count = len(program) // 8
    text = bytearray(program)
    for at in range(count):
        if text[8 * at] == _EXIT:
            struct.pack_into("<BBhi", text, 8 * at, _JUMP, 0, count - at - 1, 0)
    return before.assembled() + bytes(text) + behind.assembled()


MARK = 0x5EED
"""Mark of every frame."""


def _run(
    program: int, frame: bytes, tag: Tag | None, segment: int
) -> tuple[int, bytes, Tag | None, int]:
    cut = len(frame) if len(frame) < _LEAST else 0
    frame = frame.ljust(_LEAST, b"\0")
    given = ctypes.create_string_buffer(frame, len(frame))
    taken = ctypes.create_string_buffer(len(frame) + _ROOM)
    context = ctypes.create_string_buffer(_SIZE)
    struct.pack_into("=I", context, _MARK, MARK)
    struct.pack_into("=I", context, _SEGMENT, 0 if cut else segment)
    struct.pack_into("=I", context, _NOTES + 8, cut)
    if tag is not None:
        kind = int.from_bytes(tag.kind.to_bytes(2, "big"), "little")
        struct.pack_into("=II", context, _NOTES, kind, tag.control)
    attributes = ctypes.create_string_buffer(
        struct.pack(
            "=IIIIQQIIIIQQ",
            *(program, 0, len(frame), len(taken)),
            *(ctypes.addressof(given), ctypes.addressof(taken), 1, 0),
            *(_SIZE, _SIZE),
            *(ctypes.addressof(context), ctypes.addressof(context)),
        )
    )
    number = _CALL[os.uname().machine]
    if _SYSCALL(number, _TEST_RUN, attributes, len(attributes) - 1) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    said, length = struct.unpack_from("=I4xI", attributes, 4)
    has_tag, control, kind = struct.unpack_from("=III", context, _NOTES)
    beside = None
    if has_tag:
        beside = Tag(int.from_bytes(kind.to_bytes(2, "little"), "big"), control)
    (mark,) = struct.unpack_from("=I", context, _MARK)
    return said, taken.raw[:length], beside, mark


_SYSCALL = ctypes.CDLL(None, use_errno=True).syscall
