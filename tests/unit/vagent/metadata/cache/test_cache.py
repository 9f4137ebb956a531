"""Which responses are cached, for how long, and how many."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, cast

import pytest

from tests.unit.vagent.metadata.proxy_rig import REGISTRATION
from vagent.metadata.cache import cache as cache_module
from vagent.metadata.cache.cache import (
    CacheEntry,
    GuestCache,
    ResponseCache,
    is_cacheable,
)
from vagent.metadata.http.response_reader import ResponseHead, parse_response_head
from vagent.metadata.limits import (
    CACHE_ENTRY_COST,
    MAX_CACHED_PER_GUEST,
    MAX_CACHED_TOTAL,
    STALE_SECONDS,
)
from vagent.ports.port import Registration

PEER = "169.254.64.2"
HEAD = ResponseHead(200, b"Content-Type: text/plain\r\n", 5, False, True)


def head(*lines: str, status: int = 200) -> ResponseHead:
    fields = "".join(f"{line}\r\n" for line in lines)
    return parse_response_head(f"HTTP/1.1 {status} X\r\n{fields}\r\n".encode())


def put(
    cache: ResponseCache, key: bytes, content: bytes, now: float = 0.0, peer: str = PEER
) -> None:
    cache.store(guest_cache(cache, peer), key, HEAD, content, now)


def guest_cache(
    cache: ResponseCache, peer: str = PEER, registration: Registration = REGISTRATION
) -> GuestCache:
    return cache.look_up(peer, registration, b"", 0.0)[0]


def fresh(
    cache: ResponseCache,
    now: float,
    key: bytes = b"k",
    peer: str = PEER,
    registration: Registration = REGISTRATION,
) -> CacheEntry | None:
    return cache.look_up(peer, registration, key, now)[1]


def test_rendered_in_every_form() -> None:
    """GET and HEAD, keep-alive and not: of one cached response."""
    cache = ResponseCache(15.0)
    put(cache, b"k", b"hello")
    entry = fresh(cache, 0.0)
    assert entry is not None
    kept = entry.response
    front = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
    assert front + b"\r\nhello" == kept.data
    assert kept.data == kept.variant(head_only=False, close=False)
    assert front + b"\r\n" == kept.variant(head_only=True, close=False)
    closing = front + b"Connection: close\r\n\r\n"
    assert closing + b"hello" == kept.variant(head_only=False, close=True)
    assert closing == kept.variant(head_only=True, close=True)
    assert 5 == kept.size


def test_fresh_until_its_time_and_stale_until_another() -> None:
    """At the last moment it is still given; at the next one it is not."""
    cache = ResponseCache(15.0)
    put(cache, b"k", b"hello", now=100.0)
    mine = guest_cache(cache)
    assert fresh(cache, 114.999)
    assert fresh(cache, 115.0) is None
    assert cache.stale(mine, b"k", 99.999 + STALE_SECONDS)
    assert cache.stale(mine, b"k", 100.0 + STALE_SECONDS) is None
    assert fresh(cache, 100.0, b"other") is None


@pytest.mark.parametrize(
    "reply",
    [
        head(status=201),
        head(status=206),
        head(status=404),
        head(status=500),
        head("Set-Cookie: a=b"),
        head("set-cookie: a=b"),
        head("Vary: *"),
        head("Vary: Accept, *"),
        head("Cache-Control: no-store"),
        head("Cache-Control: public, No-Cache"),
        head("Cache-Control: max-age=0"),
    ],
)
def test_not_kept(reply: ResponseHead) -> None:
    """Anything but 200, and what says of itself that it is for once."""
    assert not is_cacheable(reply, b"x")


@pytest.mark.parametrize(
    "reply",
    [
        head(),
        head("Vary: Accept, User-Agent"),
        head("Cache-Control: private, max-age=60"),
        head("Cache-Control: max-age=05"),
        head("X-Note: Set-Cookie: no-store"),
    ],
)
def test_kept(reply: ResponseHead) -> None:
    """What a guest is sent again is its own; `Vary` names only what the key holds."""
    assert is_cacheable(reply, b"x")


def test_content_that_is_not_kept() -> None:
    """A seed under any path, and nothing at all: a document that is yet to come."""
    assert not is_cacheable(HEAD, b'{"random_seed": "YWJj"}')
    assert not is_cacheable(HEAD, b"")


def test_a_response_that_is_not_cacheable_removes_the_cached_one() -> None:
    """When the upstream says something else now, the old answer is not given again."""
    cache = ResponseCache(15.0)
    put(cache, b"k", b"hello")
    mine = guest_cache(cache)
    cache.store(mine, b"k", head(status=404), b"", 1.0)
    assert cache.stale(mine, b"k", 1.0) is None
    assert (0, 0) == (len(cache), cache.bytes)


def test_another_registration_is_another_guest() -> None:
    """Same identity, other port object: nothing of the predecessor's is given."""
    cache = ResponseCache(15.0)
    put(cache, b"k", b"hello")
    other = replace(REGISTRATION, port=replace(REGISTRATION.port, instance_id="j"))
    assert fresh(cache, 0.0, registration=other) is None
    assert {} == guest_cache(cache, registration=other).entries
    assert 0 == cache.bytes


def test_what_comes_after_a_drop_is_not_kept() -> None:
    """A reply that was under way when its guest changed is nobody's."""
    cache = ResponseCache(15.0)
    mine = guest_cache(cache)
    cache.drop(PEER)
    cache.store(mine, b"k", HEAD, b"hello", 0.0)
    guest_cache(cache)
    cache.store(mine, b"k", HEAD, b"hello", 0.0)
    assert (0, 0) == (len(cache), cache.bytes)
    assert cache.stale(mine, b"k", 0.0) is None


def overhead() -> int:
    """What a reply costs beyond its body, of a length of six digits."""
    probe = ResponseCache(15.0)
    put(probe, b"k", b"x" * 100_000)
    return probe.bytes - 100_000


@pytest.mark.parametrize(("surplus", "kept"), [(-1, 1), (0, 1), (1, 0)])
def test_one_reply_must_fit_a_guests_share(surplus: int, kept: int) -> None:
    """The ceiling counts key, head, body and what an entry costs."""
    cache = ResponseCache(15.0)
    put(cache, b"k", b"x" * (MAX_CACHED_PER_GUEST - overhead() + surplus))
    assert kept == len(cache)


def test_a_guest_fills_only_its_own_cache() -> None:
    """Its oldest entries make room; another guest's stay."""
    cache = ResponseCache(15.0)
    put(cache, b"k", b"theirs", peer="169.254.64.3")
    for number in range(2 * MAX_CACHED_PER_GUEST // CACHE_ENTRY_COST):
        put(cache, b"%05d" % number, b"x")
    mine = guest_cache(cache)
    assert mine.bytes <= MAX_CACHED_PER_GUEST
    assert mine.bytes > MAX_CACHED_PER_GUEST - 2 * CACHE_ENTRY_COST
    assert b"00000" not in mine.entries
    assert fresh(cache, 0.0, peer="169.254.64.3")


def test_all_guests_together_have_a_ceiling() -> None:
    """The cache that was filled longest ago goes first."""
    cache = ResponseCache(15.0)
    guests = 2 + MAX_CACHED_TOTAL // MAX_CACHED_PER_GUEST
    peers = [str(IPv4Address("169.254.65.0") + number) for number in range(guests)]
    for peer in peers:
        put(
            cache, b"k", b"x" * (MAX_CACHED_PER_GUEST - 2 * CACHE_ENTRY_COST), peer=peer
        )
    assert cache.bytes <= MAX_CACHED_TOTAL
    assert fresh(cache, 0.0, peer=peers[0]) is None
    assert fresh(cache, 0.0, peer=peers[-1])
    cache.clear()
    assert (0, 0) == (len(cache), cache.bytes)


def test_sweeping_leaves_what_can_still_be_used() -> None:
    """Only caches of which no entry is of use are dropped."""
    cache = ResponseCache(15.0)
    put(cache, b"k", b"x", now=0.0)
    put(cache, b"k", b"x", now=10.0, peer="169.254.64.3")
    assert 10.0 + STALE_SECONDS == cache.sweep(STALE_SECONDS)
    assert 1 == len(cache)
    assert cache.sweep(10.0 + STALE_SECONDS) is None
    assert (0, 0) == (len(cache), cache.bytes)


@pytest.mark.parametrize(("surplus", "kept"), [(0, 2), (-1, 1)])
def test_the_last_byte_of_all_guests_is_used(
    surplus: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two responses fit where there is room for two, not where a byte is missing."""
    cache = ResponseCache(15.0)
    put(cache, b"k", b"x")
    monkeypatch.setattr(cache_module, "MAX_CACHED_TOTAL", 2 * cache.bytes + surplus)
    put(cache, b"k", b"x", peer="169.254.64.3")
    assert kept == len(cache)


def test_sweeping_drops_empty_caches_unless_something_is_in_flight() -> None:
    """What is in flight would not be cached any more."""
    cache = ResponseCache(15.0)
    empty = guest_cache(cache)
    waiting = guest_cache(cache, "169.254.64.3")
    waiting.in_flight[b"k"] = cast("Any", object())
    assert cache.sweep(0.0) is None
    assert guest_cache(cache) is not empty
    assert guest_cache(cache, "169.254.64.3") is waiting
    put(cache, b"k", b"x", peer="169.254.64.3")
    assert cache.sweep(STALE_SECONDS) is None
    assert guest_cache(cache, "169.254.64.3") is not waiting


@pytest.mark.parametrize("length", [5, 7, None])
def test_a_cached_response_has_its_own_length(length: int | None) -> None:
    """Whatever the upstream announced: it may have come in chunks."""
    cache = ResponseCache(15.0)
    cache.store(guest_cache(cache), b"k", replace(HEAD, length=length), b"hello", 0.0)
    entry = fresh(cache, 0.0)
    assert entry is not None
    assert b"\r\nContent-Length: 5\r\n\r\nhello" in entry.response.data
