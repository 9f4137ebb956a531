"""The bpf(2) system call: makes maps and loads programs, by file descriptor.

The kernel frees each of them with its last descriptor, unless a program is attached.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from enum import IntEnum

from vagent.errors import KernelError

_CALL = {"x86_64": 321, "aarch64": 280}
"""Number of the system call. Only little-endian machines: the instructions that
`bpf_assembler` makes are."""
_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE, _LOAD = 0, 1, 2, 3, 5
_TAKE = 21
_TRAFFIC_CONTROL = 3
_LICENSE = b"Apache-2.0"
_LOG = 65536
_MAX_WHY = 300
"""Characters kept of the verifier's log, from its end, where the reason is."""
_LOAD_SIZE = 72
_CREATE_SIZE = 48


class MapKind(IntEnum):
    """Kinds of maps (linux/bpf.h, enum bpf_map_type)."""

    HASH = 1
    ARRAY = 2
    LRU_HASH = 9
    QUEUE = 22


class BpfMap:
    """One map in the kernel. All methods but `close` raise KernelError."""

    def __init__(self, kind: MapKind, *, key: int, value: int, entries: int) -> None:
        self._value = value
        attributes = struct.pack("=IIII", kind, key, value, entries)
        self.descriptor = _call(_MAP_CREATE, attributes.ljust(_CREATE_SIZE, b"\0"))

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
        _call(_DELETE, self._element(held, None), but=errno.ENOENT)

    def close(self) -> None:
        """Close the descriptor; programs that use the map keep it."""
        os.close(self.descriptor)

    def _fetch(self, command: int, key: bytes | None) -> bytes | None:
        held = None if key is None else _buffer(key)
        found = ctypes.create_string_buffer(self._value)
        said = _call(command, self._element(held, found), but=errno.ENOENT)
        return None if said < 0 else found.raw

    def _element(
        self,
        key: ctypes.Array[ctypes.c_char] | None,
        value: ctypes.Array[ctypes.c_char] | None,
    ) -> bytes:
        return struct.pack(
            "=I4xQQQ",
            self.descriptor,
            0 if key is None else ctypes.addressof(key),
            0 if value is None else ctypes.addressof(value),
            0,
        )


def load(code: bytes) -> int:
    """Load a program for traffic control, and return its descriptor. Raises KernelError
    with the end of the verifier's log.
    """
    held, license_ = _buffer(code), _buffer(_LICENSE + b"\0")

    def attributes(level: int, log: ctypes.Array[ctypes.c_char] | None) -> bytes:
        return struct.pack(
            "=IIQQIIQ",
            _TRAFFIC_CONTROL,
            len(code) // 8,
            ctypes.addressof(held),
            ctypes.addressof(license_),
            level,
            0 if log is None else len(log),
            0 if log is None else ctypes.addressof(log),
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


def _call(command: int, attributes: bytes, *, but: int = 0) -> int:
    number = _CALL.get(platform.machine())
    if number is None:
        raise KernelError(f"bpf: not known on {platform.machine()}")
    held = _buffer(attributes)
    said = int(_SYSCALL(number, command, held, len(attributes)))
    if said < 0:
        code = ctypes.get_errno()
        if code != but:
            name = errno.errorcode.get(code, str(code))
            raise KernelError(f"bpf: the kernel says {name} ({os.strerror(code)})")
    return said


_SYSCALL = ctypes.CDLL(None, use_errno=True).syscall
