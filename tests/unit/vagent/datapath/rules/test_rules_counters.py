"""What the kernel refuses by itself is looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from vagent.datapath.events import CountFailed
from vagent.datapath.names import Names
from vagent.datapath.rules.counters import COUNTERS, INTERVAL, QUEUE_DROPS, KernelWatch
from vagent.datapath.rules.events import KernelRefused
from vagent.datapath.system import counters_of, drops_in
from vagent.errors import KernelError
from vagent.observe.event import Event

ZEROES = dict.fromkeys(COUNTERS, 0)


class Kernel:
    """Counters as a test sets them."""

    def __init__(self) -> None:
        self.now: dict[str, int] | Exception = dict(ZEROES)
        self.drops = 0

    async def counters(self, table: str) -> dict[str, int]:
        assert table == "vagent"
        if isinstance(self.now, Exception):
            raise self.now
        return dict(self.now)

    def queue_drops(self, queue_number: int) -> int:
        assert queue_number == 8097
        return self.drops


class Watched:
    def __init__(self, names: Names) -> None:
        self.kernel, self.host = cast(Any, Kernel()), cast(Any, Kernel())
        self.clock = Clock()
        self.events: list[Event] = []
        self.looks = 0
        self.dropped: dict[str, int] = {}
        self.watch = KernelWatch(
            names,
            inside=self.kernel,
            host=self.host,
            drops=lambda: self.dropped,
            looked=self.count_look,
            emit=self.events.append,
            clock=self.clock,
        )

    def count_look(self) -> None:
        self.looks += 1

    def look(self) -> None:
        self.clock.advance(INTERVAL)


@pytest.fixture
def watched(names: Names) -> Iterator[Watched]:
    """A running watch; nothing may be left after `stop`."""
    made = Watched(names)
    made.watch.start()
    yield made
    made.watch.stop()
    assert [] == made.clock.getDelayedCalls()


def test_what_has_grown_is_told_once(watched: Watched) -> None:
    """The number of packets since the last look, not since the beginning."""
    watched.kernel.now = ZEROES | {"spoofed": 5}
    watched.look()
    watched.kernel.now = ZEROES | {"spoofed": 7}
    watched.look()
    watched.look()
    told = [e for e in watched.events if isinstance(e, KernelRefused)]
    assert [("spoofed", 5), ("spoofed", 2)] == [(e.rule, e.packets) for e in told]
    assert 7 == watched.watch.read("spoofed")()


def test_both_networks_count(watched: Watched) -> None:
    """What was dropped at the uplink, and in the namespace, is one sum."""
    watched.kernel.now = {"foreign_identity": 3, "spoofed": 1}
    watched.host.now = {"foreign_identity": 4}
    watched.look()
    told = {(e.rule, e.packets) for e in watched.events if isinstance(e, KernelRefused)}
    assert {("foreign_identity", 7), ("spoofed", 1)} == told


def test_what_the_taps_dropped_is_told_as_well(watched: Watched) -> None:
    """By its reason."""
    watched.dropped = {"malformed": 3}
    watched.look()
    told = [e for e in watched.events if isinstance(e, KernelRefused)]
    assert [("malformed", 3)] == [(e.rule, e.packets) for e in told]
    assert 3 == watched.watch.read("malformed")()


def test_counters_that_begin_again_are_understood(watched: Watched) -> None:
    """Rules that were replaced count from zero."""
    watched.kernel.now = ZEROES | {"spoofed": 5}
    watched.look()
    watched.kernel.now = ZEROES | {"spoofed": 1}
    watched.look()
    assert 1 == watched.events[-1].packets  # type: ignore[attr-defined]  # KernelRefused


def test_queue_drops_are_looked_at_too(watched: Watched) -> None:
    """They are not a counter of ours."""
    watched.kernel.drops = 3
    watched.look()
    assert 3 == watched.watch.read(QUEUE_DROPS)()


def test_a_failed_look_is_told_and_the_next_may_succeed(watched: Watched) -> None:
    """The picture stays."""
    watched.kernel.now = KernelError("nft is busy")
    watched.look()
    assert isinstance(watched.events.pop(), CountFailed)
    watched.kernel.now, watched.host.now = dict(ZEROES), watched.kernel.now
    watched.look()
    assert isinstance(watched.events[-1], CountFailed)
    watched.host.now = {}
    watched.kernel.now = ZEROES | {"claimed": 1}
    watched.look()
    assert 1 == watched.watch.read("claimed")()


def test_a_look_under_way_at_the_stop_is_the_last(names: Names) -> None:
    """No timer is left behind."""
    made = Watched(names)
    answer: Deferred[dict[str, int]] = Deferred()

    async def late(_table: str) -> dict[str, int]:
        return await answer

    made.kernel.counters = late
    made.watch.start()
    made.look()
    made.watch.stop()
    answer.callback(dict(ZEROES))
    assert [] == made.clock.getDelayedCalls()


def test_counters_are_ours_only() -> None:
    """Of all tables' counters those of our tables."""
    listed = b"""{"nftables": [{"metainfo": {}},
      {"counter": {"family": "ip", "table": "vagent", "name": "refused", "packets": 2}},
      {"counter": {"family": "ip", "table": "other", "name": "refused", "packets": 9}}
    ]}"""
    assert {"refused": 2} == counters_of(listed, "vagent")


def test_counters_of_both_families_are_added() -> None:
    """The tables of IPv4 and IPv6 have counters of one name; neither hides the other's,
    whichever is listed last, and a family that counted nothing adds nothing.
    """
    counted = [("ip", "refused", 2), ("ip6", "refused", 3)]
    counted += [("ip", "closed", 5), ("ip6", "closed", 0)]
    fields = ("family", "name", "packets")
    counters = [dict(zip(fields, each, strict=True)) for each in counted]
    listed = json.dumps(
        {"nftables": [{"counter": {"table": "vagent", **each}} for each in counters]}
    ).encode()
    assert {"refused": 5, "closed": 5} == counters_of(listed, "vagent")


@pytest.mark.parametrize("listed", [b"", b"[]", b'{"x": 1}', b"nonsense"])
def test_an_answer_that_is_none_is_refused(listed: bytes) -> None:
    """Never taken for zero."""
    with pytest.raises(KernelError):
        counters_of(listed, "vagent")


def test_queue_drops_by_number() -> None:
    """Both kinds: the queue was full, or the reader's buffer was."""
    table = " 8096 1 0 2 128 7 7 1 1\n 8097 42 0 2 128 3 4 99 1\n"
    assert 7 == drops_in(table, 8097)
    assert 0 == drops_in(table, 1)
    assert 0 == drops_in("", 8097)
