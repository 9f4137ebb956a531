"""Cached responses of each guest, bounded in age and bytes. No transport, no clock.

A guest has a cache of its own, made for one registration: a changed port starts with an
empty one. A request in flight holds on to the cache that it began with; if that was
dropped meanwhile, for example because the port went, its response is not stored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vagent.metadata.http.rendered_response import RenderedResponse
from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.http.response_writer import whole_response
from vagent.metadata.limits import (
    CACHE_ENTRY_COST,
    MAX_CACHED_PER_GUEST,
    MAX_CACHED_TOTAL,
    STALE_SECONDS,
)
from vagent.ports.port import Registration

if TYPE_CHECKING:
    from vagent.metadata.cache.caching_forwarder import CoalescedRequest

_NOT_CACHEABLE = re.compile(
    rb"^(?:set-cookie:|vary:[^\r]*\*|"
    rb"cache-control:[^\r]*(?:no-store|no-cache|max-age=0+\b))",
    re.IGNORECASE | re.MULTILINE,
)
_SEED = b'"random_seed"'


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A cached response: fresh until the one time, then stale until the other (the
    clock's seconds), when it is of no more use.
    """

    response: RenderedResponse
    fresh_until: float
    stale_until: float


class GuestCache:
    """The cached responses of one registration, and its requests that others can join.

    Both are found by their `cache_key`. `bytes` is what the entries count for; after
    `stale_until` (the clock's seconds) none of them is of use.
    """

    __slots__ = (
        "bytes",
        "entries",
        "in_flight",
        "main_identity",
        "registration",
        "stale_until",
    )

    def __init__(self, main_identity: str, registration: Registration) -> None:
        self.main_identity = main_identity
        self.registration = registration
        self.stale_until = 0.0
        self.entries: dict[bytes, CacheEntry] = {}
        self.in_flight: dict[bytes, CoalescedRequest] = {}
        self.bytes = 0


def is_cacheable(head: ResponseHead, content: bytes) -> bool:
    """May this response be given again? Only a status 200 with a body.

    A random seed is recognised in the body as well as by its path, in case some
    document shows one under another path.
    """
    return (
        head.status == 200
        and bool(content)
        and not _NOT_CACHEABLE.search(head.fields)
        and _SEED not in content
    )


def may_be_shared(head: ResponseHead, content: bytes) -> bool:
    """May requests that came later than the one it answers get this response, too?

    RFC 9111 §4: only if the cache may give it without asking again. With `no-cache` the
    document may have changed since the request was sent.
    """
    return not _NOT_CACHEABLE.search(head.fields) and _SEED not in content


class ResponseCache:
    """The caches of all guests, by main identity. `ttl` is how many seconds a response
    is fresh; with 0 nothing is cached.

    `hits` counts requests answered from the cache, `joined` those that shared another
    one's response.
    """

    def __init__(self, ttl: float) -> None:
        self.ttl = ttl
        self._caches: dict[str, GuestCache] = {}
        self.bytes = 0
        self.hits = 0
        self.joined = 0

    def look_up(
        self, main_identity: str, registration: Registration, key: bytes, now: float
    ) -> tuple[GuestCache, CacheEntry | None]:
        """The guest's cache, and its fresh entry for this key. The cache of an earlier
        registration is dropped.
        """
        cache = self._caches.get(main_identity)
        if cache is None or cache.registration is not registration:
            self.drop(main_identity)
            cache = GuestCache(main_identity, registration)
            self._caches[main_identity] = cache
            return cache, None
        entry = cache.entries.get(key)
        if entry is None or entry.fresh_until <= now:
            return cache, None
        self.hits += 1
        return cache, entry

    def stale(self, cache: GuestCache, key: bytes, now: float) -> CacheEntry | None:
        """An entry for when the upstream fails; it may be stale but not too old."""
        entry = cache.entries.get(key)
        if entry is None or entry.stale_until <= now or not self._is_current(cache):
            return None
        return entry

    def store(
        self,
        cache: GuestCache,
        key: bytes,
        head: ResponseHead,
        content: bytes,
        now: float,
    ) -> None:
        """Cache a response, unless it is not cacheable or its cache was dropped."""
        if not self._is_current(cache):
            return
        self._remove(cache, key)
        if not is_cacheable(head, content):
            return
        data = whole_response(head, content, head_only=False, close=False)
        entry = CacheEntry(
            RenderedResponse(data, len(content)),
            fresh_until=now + self.ttl,
            stale_until=now + max(self.ttl, STALE_SECONDS),
        )
        cost = _cost(key, entry)
        if cost > MAX_CACHED_PER_GUEST:
            return
        self._make_room(cache, cost)
        cache.entries[key] = entry
        cache.stale_until = entry.stale_until
        cache.bytes += cost
        self.bytes += cost

    def drop(self, main_identity: str) -> None:
        """Drop a guest's cache. What is in flight for it will not be cached."""
        cache = self._caches.pop(main_identity, None)
        if cache is not None:
            self.bytes -= cache.bytes

    def sweep(self, now: float) -> float | None:
        """Drop caches of which nothing is of use any more. When to call this again;
        None: not before something is stored.

        Each `store` moves its cache to the end, so the oldest are in front.
        """
        for main_identity, cache in list(self._caches.items()):
            if cache.entries and cache.stale_until > now:
                return cache.stale_until
            if cache.entries or not cache.in_flight:
                self.drop(main_identity)
        return None

    def clear(self) -> None:
        """Drop every cache."""
        self._caches.clear()
        self.bytes = 0

    def __len__(self) -> int:
        return sum(len(cache.entries) for cache in self._caches.values())

    def _is_current(self, cache: GuestCache) -> bool:
        return self._caches.get(cache.main_identity) is cache

    def _remove(self, cache: GuestCache, key: bytes) -> None:
        entry = cache.entries.pop(key, None)
        if entry is not None:
            cost = _cost(key, entry)
            cache.bytes -= cost
            self.bytes -= cost

    def _make_room(self, cache: GuestCache, cost: int) -> None:
        """The guest's own oldest entries go first, then whole caches, oldest first."""
        while cache.bytes + cost > MAX_CACHED_PER_GUEST:
            self._remove(cache, next(iter(cache.entries)))
        self._caches[cache.main_identity] = self._caches.pop(cache.main_identity)
        while self.bytes + cost > MAX_CACHED_TOTAL:
            self.drop(next(iter(self._caches)))


def _cost(key: bytes, entry: CacheEntry) -> int:
    return len(key) + len(entry.response.data) + CACHE_ENTRY_COST
