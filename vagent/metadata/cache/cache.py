"""Replies kept for each guest, bounded in age and bytes. No transport, no clock.

A guest's replies stand on its own shelf, and the shelf belongs to one registration: a
changed port is another shelf. A request that is under way holds on to the shelf that
it began with, so what it brings is lost if the shelf was dropped meanwhile.
"""

from __future__ import annotations

import re
from typing import Protocol

from vagent.metadata.guest.client import Client
from vagent.metadata.http.rendered_response import RenderedResponse
from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.http.response_writer import relayed_head
from vagent.metadata.limits import (
    CACHE_ENTRY_COST,
    MAX_CACHED_PER_GUEST,
    MAX_CACHED_TOTAL,
    STALE_SECONDS,
)
from vagent.ports.port import Registration

_UNKEPT = re.compile(
    rb"^(?:set-cookie:|vary:[^\r]*\*|"
    rb"cache-control:[^\r]*(?:no-store|no-cache|max-age=0+\b))",
    re.IGNORECASE | re.MULTILINE,
)
_SEED = b'"random_seed"'


class Joinable(Protocol):
    """A request under way, as a shelf sees it: a flight."""

    def board(self, guest: Client) -> None:
        """The guest waits for it too."""


class GuestCache:
    """What is kept for one registration, and the requests under way for more.

    Of no use once it is older than `dead_at`, when its last reply is.
    """

    __slots__ = ("bytes", "dead_at", "flights", "kept", "peer", "registration")

    def __init__(self, peer: str, registration: Registration) -> None:
        self.peer = peer
        self.registration = registration
        self.dead_at = 0.0
        self.kept: dict[bytes, RenderedResponse] = {}
        self.flights: dict[bytes, Joinable] = {}
        self.bytes = 0


def may_keep(head: ResponseHead, content: bytes) -> bool:
    """Is this a reply that may be given again? Only a whole, plain, non-empty 200.

    The seed is looked for by name as well: some tree may show it under another path.
    """
    return (
        head.status == 200
        and bool(content)
        and not _UNKEPT.search(head.fields)
        and _SEED not in content
    )


class ResponseCache:
    """All shelves, by identity address. With `ttl` 0 (seconds) nothing is kept."""

    def __init__(self, ttl: float) -> None:
        self.ttl = ttl
        self._shelves: dict[str, GuestCache] = {}
        self.bytes = 0
        self.hits = 0
        self.joined = 0

    def shelf(self, peer: str, registration: Registration) -> GuestCache:
        """The guest's shelf; what another registration left there is dropped."""
        shelf = self._shelves.get(peer)
        if shelf is None or shelf.registration is not registration:
            self.drop(peer)
            shelf = self._shelves[peer] = GuestCache(peer, registration)
        return shelf

    def fresh(
        self, peer: str, registration: Registration, key: bytes, now: float
    ) -> RenderedResponse | None:
        """A reply that need not be asked for again."""
        shelf = self._shelves.get(peer)
        if shelf is None or shelf.registration is not registration:
            return None
        kept = shelf.kept.get(key)
        if kept is None or kept.fresh_until <= now:
            return None
        self.hits += 1
        return kept

    def stale(
        self, shelf: GuestCache, key: bytes, now: float
    ) -> RenderedResponse | None:
        """A reply for when the upstream has none, if it is not too old."""
        kept = shelf.kept.get(key)
        if kept is None or kept.dead_at <= now or not self._is_current(shelf):
            return None
        return kept

    def store(
        self,
        shelf: GuestCache,
        key: bytes,
        head: ResponseHead,
        content: bytes,
        now: float,
    ) -> None:
        """Keep a reply if it may be kept and its shelf still stands."""
        if not self._is_current(shelf):
            return
        self._remove(shelf, key)
        if not may_keep(head, content):
            return
        front = relayed_head(head, length=len(content), chunked=False, close=False)
        kept = RenderedResponse(
            front + content,
            len(front),
            fresh_until=now + self.ttl,
            dead_at=now + max(self.ttl, STALE_SECONDS),
        )
        cost = _cost(key, kept)
        if cost > MAX_CACHED_PER_GUEST:
            return
        self._make_room(shelf, cost)
        shelf.kept[key] = kept
        shelf.dead_at = kept.dead_at
        shelf.bytes += cost
        self.bytes += cost

    def drop(self, peer: str) -> None:
        """Forget all of a guest's; what is under way for it will not be kept."""
        shelf = self._shelves.pop(peer, None)
        if shelf is not None:
            self.bytes -= shelf.bytes

    def sweep(self, now: float) -> float | None:
        """Drop shelves of which nothing can be used. When to come again; None: never.

        Each store moves its shelf to the end, so the front holds the oldest.
        """
        for peer, shelf in list(self._shelves.items()):
            if shelf.kept and shelf.dead_at > now:
                return shelf.dead_at
            if shelf.kept or not shelf.flights:
                self.drop(peer)
        return None

    def clear(self) -> None:
        """Forget everything."""
        self._shelves.clear()
        self.bytes = 0

    def __len__(self) -> int:
        return sum(len(shelf.kept) for shelf in self._shelves.values())

    def _is_current(self, shelf: GuestCache) -> bool:
        return self._shelves.get(shelf.peer) is shelf

    def _remove(self, shelf: GuestCache, key: bytes) -> None:
        kept = shelf.kept.pop(key, None)
        if kept is not None:
            cost = _cost(key, kept)
            shelf.bytes -= cost
            self.bytes -= cost

    def _make_room(self, shelf: GuestCache, cost: int) -> None:
        """The guest's own oldest replies go first, then whole shelves, oldest first."""
        while shelf.bytes + cost > MAX_CACHED_PER_GUEST:
            self._remove(shelf, next(iter(shelf.kept)))
        self._shelves[shelf.peer] = self._shelves.pop(shelf.peer)
        while self.bytes + cost > MAX_CACHED_TOTAL:
            self.drop(next(iter(self._shelves)))


def _cost(key: bytes, kept: RenderedResponse) -> int:
    return len(key) + len(kept.data) + CACHE_ENTRY_COST
