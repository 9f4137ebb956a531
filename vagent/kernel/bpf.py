"""The bpf(2) system call: makes maps and loads programs, by file descriptor.

The kernel frees each of them with its last descriptor, unless a program is attached, or
it is pinned: has a name in a bpf file system.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Container, Iterator
from enum import IntEnum
from pathlib import Path

from vagent.errors import KernelError

_CALL = {"x86_64": 321, "aarch64": 280}
"""Number of the system call. Only little-endian machines: the instructions that
`bpf_assembler` makes are."""
_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE, _LOAD = 0, 1, 2, 3, 5
_PIN, _GET_PINNED, _ATTACH, _DETACH = 6, 7, 8, 9
_GET_INFO, _QUERY, _TAKE, _READ_MANY = 15, 16, 21, 24
_TRAFFIC_CONTROL = 3
_LICENSE = b"Apache-2.0"
_LOG = 65536
_MAX_WHY = 300
"""Characters kept of the verifier's log, from its end, where the reason is."""
_LOAD_SIZE = 72
_CREATE_SIZE = 48
_NO_PREALLOCATION = 1
_ONLY_NEW = 1
_MANY = 4096
"""Elements read in one call."""
_NOT_ALLOWED = "; it takes CAP_BPF and CAP_NET_ADMIN, and no lockdown of the kernel"
_NAME = 15
"""Characters of a name that the kernel keeps, for `bpftool`."""
_INFO = 256
_INFO_ID = 4


class MapKind(IntEnum):
    """Kinds of maps (linux/bpf.h, enum bpf_map_type)."""

    HASH = 1
    ARRAY = 2
    LRU_HASH = 9
    QUEUE = 22


class BpfMap:
    """One map in the kernel. All methods but `close` raise KernelError.

    A hash map that is not preallocated takes memory for the elements that it has. The
    map is the one that is `pinned` there already, if any.
    """

    def __init__(
        self,
        kind: MapKind,
        *,
        key: int,
        value: int,
        entries: int,
        is_preallocated: bool = True,
        name: str = "",
        pinned: Path | None = None,
    ) -> None:
        self._key, self._value = key, value
        if pinned is not None and pinned.exists():
            self.descriptor = open_pinned(pinned)
            return
        attributes = struct.pack(
            "=IIIII8x15s",
            *(kind, key, value, entries),
            0 if is_preallocated else _NO_PREALLOCATION,
            name.encode()[:_NAME],
        )
        self.descriptor = _call(_MAP_CREATE, attributes.ljust(_CREATE_SIZE, b"\0"))
        if pinned is not None:
            pin(self.descriptor, pinned)

    def __repr__(self) -> str:
        return f"<BpfMap {self.descriptor}>"

    def read(self, key: bytes) -> bytes | None:
        """The value under a key, None where there is none."""
        return self._fetch(_LOOKUP, key)

    def take(self) -> bytes | None:
        """Take the next value out of a queue; None when it is empty."""
        return self._fetch(_TAKE, None)

    def write(self, key: bytes, value: bytes) -> None:
        """Set the value under a key."""
        held, given = _buffer(key), _buffer(value)
        _call(_UPDATE, self._element(held, given))

    def delete(self, key: bytes) -> None:
        """Remove a key, if it is there."""
        held = _buffer(key)
        _call(_DELETE, self._element(held, None), but=(errno.ENOENT,))

    def add(self, key: bytes, value: bytes) -> bool:
        """Set the value under a key that is not there yet; False: it is."""
        held, given = _buffer(key), _buffer(value)
        asked = self._element(held, given, _ONLY_NEW)
        return _call(_UPDATE, asked, but=(errno.EEXIST,)) >= 0

    def elements(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key with its value, of a hash map. What changes meanwhile may be
        missing or come twice.
        """
        keys = ctypes.create_string_buffer(_MANY * self._key)
        values = ctypes.create_string_buffer(_MANY * self._value)
        place, after = ctypes.c_uint64(), ctypes.c_uint64()
        is_first, is_last = True, False
        while not is_last:
            asked = _buffer(
                struct.pack(
                    "=QQQQIIQQ",
                    0 if is_first else ctypes.addressof(place),
                    ctypes.addressof(after),
                    *(ctypes.addressof(keys), ctypes.addressof(values)),
                    *(_MANY, self.descriptor, 0, 0),
                )
            )
            is_last = _call_with(_READ_MANY, asked, but=(errno.ENOENT,)) < 0
            (count,) = struct.unpack_from("=I", asked, 32)
            some, theirs = keys.raw, values.raw
            for each in range(count):
                key, value = each * self._key, each * self._value
                yield some[key : key + self._key], theirs[value : value + self._value]
            place.value, is_first = after.value, False

    def close(self) -> None:
        """Close the descriptor; programs that use the map keep it."""
        os.close(self.descriptor)

    def _fetch(self, command: int, key: bytes | None) -> bytes | None:
        held = None if key is None else _buffer(key)
        found = ctypes.create_string_buffer(self._value)
        said = _call(command, self._element(held, found), but=(errno.ENOENT,))
        return None if said < 0 else found.raw

    def _element(
        self,
        key: ctypes.Array[ctypes.c_char] | None,
        value: ctypes.Array[ctypes.c_char] | None,
        flags: int = 0,
    ) -> bytes:
        return struct.pack(
            "=I4xQQQ",
            self.descriptor,
            0 if key is None else ctypes.addressof(key),
            0 if value is None else ctypes.addressof(value),
            flags,
        )


def pin(descriptor: int, path: Path) -> None:
    """Give a map or program a name in a bpf file system, which keeps it. Raises
    KernelError.
    """
    name = _buffer(os.fsencode(path) + b"\0")
    _call(_PIN, struct.pack("=QII", ctypes.addressof(name), descriptor, 0))


def open_pinned(path: Path) -> int:
    """A descriptor of what has this name. Raises KernelError."""
    name = _buffer(os.fsencode(path) + b"\0")
    return _call(_GET_PINNED, struct.pack("=QII", ctypes.addressof(name), 0, 0))


def number_of(descriptor: int) -> int:
    """The number by which the kernel lists a map or a program. Raises KernelError."""
    info = ctypes.create_string_buffer(_INFO)
    _call(_GET_INFO, struct.pack("=IIQ", descriptor, _INFO, ctypes.addressof(info)))
    return int.from_bytes(info.raw[_INFO_ID : _INFO_ID + 4], "little")


def attach(
    ifindex: int, program: int, where: int, *, flags: int, replaced: int
) -> None:
    """Attach a program to an interface (BPF_PROG_ATTACH; `where` is of enum
    bpf_attach_type), in the place of `replaced` if the flags say so. An interface that
    has gone is no error. Raises KernelError.
    """
    asked = struct.pack("=IIIIIIQ", ifindex, program, where, flags, replaced, 0, 0)
    _call(_ATTACH, asked, but=(errno.ENODEV,))


def detach(ifindex: int, program: int, where: int, *, but: Container[int]) -> None:
    """Take a program off an interface. Raises KernelError, but not for an errno in
    `but`.
    """
    asked = struct.pack("=IIIIIIQ", ifindex, program, where, 0, 0, 0, 0)
    _call(_DETACH, asked, but=but)


def attached(
    ifindex: int, where: int, most: int, *, but: Container[int] = ()
) -> tuple[int, ...] | None:
    """The numbers of the programs at an interface, in order; None for an errno in
    `but`. Raises KernelError.
    """
    numbers = (ctypes.c_uint32 * most)()
    asked = _buffer(
        struct.pack(
            "=IIIIQI4xQQQQ",
            *(ifindex, where, 0, 0, ctypes.addressof(numbers), most),
            *(0, 0, 0, 0),
        )
    )
    if _call_with(_QUERY, asked, but=but) < 0:
        return None
    (count,) = struct.unpack_from("=I", asked, 24)
    return tuple(numbers[:count])


def load(code: bytes, name: str = "") -> int:
    """Load a program for traffic control, and return its descriptor. Raises KernelError
    with the end of the verifier's log.
    """
    held, license_ = _buffer(code), _buffer(_LICENSE + b"\0")

    def attributes(level: int, log: ctypes.Array[ctypes.c_char] | None) -> bytes:
        return struct.pack(
            "=IIQQIIQ8x15s",
            _TRAFFIC_CONTROL,
            len(code) // 8,
            ctypes.addressof(held),
            ctypes.addressof(license_),
            level,
            0 if log is None else len(log),
            0 if log is None else ctypes.addressof(log),
            name.encode()[:_NAME],
        ).ljust(_LOAD_SIZE, b"\0")

    try:
        return _call(_LOAD, attributes(0, None))
    except KernelError:
        log = ctypes.create_string_buffer(_LOG)
        try:
            return _call(_LOAD, attributes(1, log))
        except KernelError as failure:
            said = " ".join(log.value.decode("utf-8", "replace").split())
            raise KernelError(f"{failure} {said[-_MAX_WHY:]}".strip()) from None


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))


def _call(command: int, attributes: bytes, *, but: Container[int] = ()) -> int:
    return _call_with(command, _buffer(attributes), but=but)


def _call_with(
    command: int, attributes: ctypes.Array[ctypes.c_char], *, but: Container[int] = ()
) -> int:
    if _NUMBER is None:
        raise KernelError(f"bpf: not known on {platform.machine()}")
    said = int(_SYSCALL(_NUMBER, command, attributes, len(attributes)))
    if said < 0:
        code = ctypes.get_errno()
        if code not in but:
            name = errno.errorcode.get(code, str(code))
            hint = _NOT_ALLOWED if code == errno.EPERM else ""
            raise KernelError(
                f"bpf: the kernel says {name} ({os.strerror(code)}){hint}"
            )
    return said


_NUMBER = _CALL.get(platform.machine())
_SYSCALL = ctypes.CDLL(None, use_errno=True).syscall
