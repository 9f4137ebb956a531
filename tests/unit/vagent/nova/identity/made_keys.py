"""Keys for tests: made once for all, as each takes some tenths of a second."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from twisted.internet.defer import Deferred, execute

from vagent.nova.identity.keys import IdentityKey, KeyRing, new_key
from vagent.nova.identity.signer import IdentitySigner

NOW = 1_900_000_000.0


@cache
def made(number: int) -> IdentityKey:
    """One of a few keys."""
    return new_key(f"host-{number}", NOW)


class Maker:
    """Gives them one after the other, as `new_key` would."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, name: str, now: float) -> IdentityKey:
        self.made += 1
        return made(self.made)


def full_ring() -> KeyRing:
    """A previous key, the one in use, the next."""
    return KeyRing(NOW, (made(1), made(2), made(3)))


class Ring:
    """Keys that are there."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def ring(self) -> KeyRing:
        return self._ring


def at_once(work: Callable[[], Any]) -> Deferred[Any]:
    """In the place of a thread."""
    return execute(work)


def signer_of(ring: KeyRing) -> IdentitySigner:
    """Signs without a file or a thread."""
    return IdentitySigner(
        lambda: Ring(ring), issuer="vagent:host", now=lambda: NOW, run_in_thread=at_once
    )
