"""The file of identity keys in the state folder: read, kept, rotated.

Every call waits for the disk or makes keys, so call it in a thread, and always in the
same one. A file that cannot be used is set aside and not lost.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vagent.nova.identity.events import IdentityKeysNotKept, IdentityKeysRotated
from vagent.nova.identity.keys import (
    MAX_FILE,
    IdentityKey,
    KeyRing,
    decode,
    encode,
    new_key,
    new_ring,
)
from vagent.nova.identity.signatures import key_id
from vagent.observe.event import Emit
from vagent.store.private_file import read_private, write_private

ASIDE = ".unusable"
"""What is appended to the name of a file that cannot be used."""


class IdentityKeyFile:
    """The keys of this host. `now` is the date in seconds; `emit` is called in the
    caller's thread.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        now: Callable[[], float],
        emit: Emit,
        make: Callable[[str, float], IdentityKey] = new_key,
    ) -> None:
        self._path = path
        self._name = name
        self._now = now
        self._emit = emit
        self._make = make
        self._ring: KeyRing | None = None

    def ring(self) -> KeyRing:
        """The keys now. Read or made at first, rotated when it is time."""
        now = self._now()
        ring = self._ring or self._read()
        if ring is None:
            ring = self._put(new_ring(lambda: self._make(self._name, now), now))
        elif ring.is_due(now):
            ring = self._put(ring.next(self._make(self._name, now), now))
        self._ring = ring
        return ring

    def _put(self, ring: KeyRing) -> KeyRing:
        self._emit(IdentityKeysRotated(key_id(ring.current)))
        try:
            write_private(self._path, encode(ring), durable=True)
        except OSError as error:
            self._emit(
                IdentityKeysNotKept(f"{self._path}: {error}; lost with the next start")
            )
        return ring

    def _read(self) -> KeyRing | None:
        """None where there is no file, or none that can be used."""
        try:
            return decode(read_private(self._path, MAX_FILE))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            aside = self._path.with_name(self._path.name + ASIDE)
            self._emit(
                IdentityKeysNotKept(f"{self._path}: {error}; new ones, it is {aside}")
            )
        try:
            self._path.replace(aside)
        except OSError as error:
            self._emit(IdentityKeysNotKept(f"{self._path}: {error}"))
        return None
