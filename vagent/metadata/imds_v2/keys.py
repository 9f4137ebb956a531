"""The two keys that session tokens are signed with, in a file of the agent.

Time is counted from the host's boot, so setting the clock changes no token's life. Keys
belong to one boot, because after a boot no guest still runs that holds an old token.
The file therefore needs no fsync; it must only outlive the agent's process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vagent.metadata.imds_v2.events import SessionKeysNotKept
from vagent.metadata.imds_v2.token import NONCE_BYTES
from vagent.observe.event import Emit
from vagent.store.private_file import read_private, write_private

KEY_BYTES = 32
ROTATE_SECONDS = 24 * 3600.0
"""More than the longest life of a token (6 h), so two keys are enough."""
MAX_FILE = 1024
"""Bytes; the file has about 250."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The key in use, and the one before it for tokens that still live (b"": none).

    `number` (0 to 255) names the key in use, `made` is when it was made, in seconds
    since the boot.
    """

    number: int
    made: float
    current: bytes = field(repr=False)
    previous: bytes = field(repr=False, default=b"")

    def key_of(self, number: int) -> bytes | None:
        """The key of that number, if it is still of use."""
        if number == self.number:
            return self.current
        if number == (self.number - 1) % 256 and self.previous:
            return self.previous
        return None

    def next(self, key: bytes, now: float) -> KeyPair:
        """The pair after this one."""
        return KeyPair((self.number + 1) % 256, now, key, self.current)


def boot_name() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def seconds_since_boot() -> float:
    """Seconds, suspension included. Nobody can set this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def encode(pair: KeyPair, boot: str) -> bytes:
    """The content of the file."""
    return json.dumps(
        {
            "boot": boot,
            "number": pair.number,
            "made": pair.made,
            "current": pair.current.hex(),
            "previous": pair.previous.hex(),
        }
    ).encode("ascii")


def decode(content: bytes, boot: str) -> KeyPair | None:
    """The pair; None if it is of another boot. Raises ValueError if it is no pair."""
    try:
        stored = json.loads(content)
        pair = KeyPair(
            number=int(stored["number"]),
            made=float(stored["made"]),
            current=bytes.fromhex(stored["current"]),
            previous=bytes.fromhex(stored["previous"]),
        )
        stored_boot = stored["boot"]
    except (KeyError, TypeError, ValueError):
        raise ValueError("not a file of session keys") from None
    sizes = (len(pair.current), len(pair.previous))
    if not 0 <= pair.number <= 255 or sizes not in (
        (KEY_BYTES, 0),
        (KEY_BYTES, KEY_BYTES),
    ):
        raise ValueError("session keys of the wrong size or number")
    return pair if stored_boot == boot else None


class SessionKeys:
    """The keys. Call `load` before use; afterwards they are renewed when it is time.

    `now` gives seconds since the boot, `boot` names the boot. If the file cannot be
    read, written or trusted, tokens do not survive a restart; nothing else fails.
    """

    def __init__(
        self,
        path: Path,
        *,
        boot: str,
        now: Callable[[], float],
        entropy: Callable[[int], bytes],
        emit: Emit,
    ) -> None:
        self._path = path
        self._boot = boot
        self._entropy = entropy
        self._emit = emit
        self._pair: KeyPair | None = None
        self.now = now

    def load(self) -> None:
        """Read the keys of the last run in this boot, or make new ones."""
        try:
            self._pair = self._read()
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self._emit(SessionKeysNotKept(f"{self._path}: {error}"))
        self.pair()

    def pair(self) -> KeyPair:
        """The keys now; the one in use is at most ROTATE_SECONDS old."""
        pair, now = self._pair, self.now()
        if pair is not None and 0 <= now - pair.made < ROTATE_SECONDS:
            return pair
        if pair is None:
            # Counted from 0, the number that tokens show would be the days since boot.
            number, *fresh = self._entropy(1 + KEY_BYTES)
            renewed = KeyPair(number, now, bytes(fresh))
        else:
            renewed = pair.next(self._entropy(KEY_BYTES), now)
        self._pair = renewed
        try:
            content = encode(renewed, self._boot)
            write_private(self._path, content, durable=False)
        except OSError as error:
            self._emit(SessionKeysNotKept(f"{self._path}: {error}"))
        return renewed

    def nonce(self) -> bytes:
        """Randomness for one token."""
        return self._entropy(NONCE_BYTES)

    def _read(self) -> KeyPair | None:
        return decode(read_private(self._path, MAX_FILE), self._boot)
