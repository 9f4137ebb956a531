"""Runs a program for traffic control on single frames (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

_CALL = {"x86_64": 321, "aarch64": 280}
_TEST_RUN = 10
_CONTEXT = 192
"""Bytes of struct __sk_buff (linux/bpf.h)."""
_MARK, _SEGMENT = 8, 176
_ROOM = 256
"""Bytes by which a program may make a frame longer."""


class Ran(NamedTuple):
    """What the program said, and the frame and its mark afterwards."""

    said: int
    frame: bytes
    mark: int


def run(
    program: int, frame: bytes, *, mark: int = 0, segment: int = 0, times: int = 1
) -> Ran:
    """Run it. `segment` is the length of the segments that the frame is cut into later;
    each of several `times` sees the frame that the one before has left.
    """
    given = ctypes.create_string_buffer(frame, len(frame))
    taken = ctypes.create_string_buffer(len(frame) + _ROOM)
    context = ctypes.create_string_buffer(_CONTEXT)
    struct.pack_into("=I", context, _MARK, mark)
    struct.pack_into("=I", context, _SEGMENT, segment)
    attributes = ctypes.create_string_buffer(
        struct.pack(
            "=IIIIQQIIIIQQ",
            *(program, 0, len(frame), len(taken)),
            *(ctypes.addressof(given), ctypes.addressof(taken), times, 0),
            *(_CONTEXT, _CONTEXT),
            *(ctypes.addressof(context), ctypes.addressof(context)),
        )
    )
    libc = ctypes.CDLL(None, use_errno=True)
    number = _CALL[os.uname().machine]
    if libc.syscall(number, _TEST_RUN, attributes, len(attributes) - 1) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    said, length = struct.unpack_from("=I4xI", attributes, 4)
    (after,) = struct.unpack_from("=I", context, _MARK)
    return Ran(said, taken.raw[:length], after)
