"""How many flows a guest and the host may have: pure counting, no kernel.

The kernel knows which flows are alive, the agent which it has let in. Counting what was
let in is free and never too low. The kernel is asked when such a count reaches a
ceiling, at most once in RECOUNT_INTERVAL, and until it answers the ceiling holds; and
from time to time while there are any, so that the numbers shown are right.

Packets of one flow that wait in the queue together all come as opening ones: a SYN and
its repetition, two datagrams in a row. The flow is counted with the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from vagent.config.model import LinkLocalFlowsConfig
from vagent.kernel.ip_packet import OpeningPacket

RECOUNT_INTERVAL = 1.0
"""Seconds between two counts of the kernel's flows while a ceiling is reached: each
reads the host's flow table, some 0.3 s for 5,000 flows, in a thread of its own."""
USUAL_INTERVAL = 15.0
"""The same while none is."""
RESERVED = 8
RECENT = 2_048
"""Flows in half of what is remembered of those let in: together they are as many as the
queue holds by default, so that of two packets in it the first is still known."""
SHARE = 64
"""The last eighth of the host's flows is for guests that have less than a sixty-fourth
of them: some guests that take all they get leave room for those that need little."""


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """The picture for pages.

    `now` is never too low; `peak` is the most that the kernel ever counted, `refused`
    how many flows a ceiling kept out, `guests` how many guests have any.
    """

    now: int
    peak: int
    ceiling: int
    guest_ceiling: int
    refused: int
    guests: int


@dataclass(slots=True)
class FlowLimits:
    """Counts by the index of the port. `seconds` are those of a steady clock."""

    config: LinkLocalFlowsConfig
    _by_guest: Counter[int] = field(default_factory=Counter)
    _since: Counter[int] = field(default_factory=Counter)
    _total: int = 0
    _peak: int = 0
    _refused: int = 0
    _is_counting: bool = False
    _next_recount: float = 0.0
    _next_usual: float = 0.0
    _recent: dict[OpeningPacket, int] = field(default_factory=dict)
    _earlier: dict[OpeningPacket, int] = field(default_factory=dict)

    def guest_is_full(self, index: int) -> bool:
        """Has this guest all the flows that it may have?"""
        return self._by_guest.get(index, 0) >= self.config.max_vm_flows

    def host_is_full(self, index: int) -> bool:
        """Has the host, for this guest?"""
        most = self.config.max_system_flows
        if self._total >= most:
            return True
        return (
            self._total >= most - most // RESERVED
            and self._by_guest.get(index, 0) >= most // SHARE > 0
        )

    def given(self, opening: OpeningPacket) -> int:
        """The endpoint of the flow that such a packet opened just now; it is counted.
        0 where there is none.
        """
        return self._recent.get(opening) or self._earlier.get(opening, 0)

    def opened(self, index: int, opening: OpeningPacket, endpoint: int) -> None:
        """A flow of this guest was let in, to this endpoint."""
        if len(self._recent) >= RECENT:
            self._earlier, self._recent = self._recent, {}
        self._recent[opening] = endpoint
        self._by_guest[index] = self._by_guest.get(index, 0) + 1
        self._since[index] = self._since.get(index, 0) + 1
        self._total += 1

    def refused(self) -> None:
        """A ceiling kept a flow out."""
        self._refused += 1

    def should_recount(self, seconds: float) -> bool:
        """A ceiling is reached: is it time to ask the kernel again? Says yes once."""
        if self._is_counting or seconds < self._next_recount:
            return False
        self._begin(seconds)
        return True

    def is_stale(self, seconds: float) -> bool:
        """Was the kernel asked a while ago, and is there anything? Says yes once."""
        if self._is_counting or not self._total or seconds < self._next_usual:
            return False
        self._begin(seconds)
        return True

    def recounted(self, alive: Mapping[int, int]) -> None:
        """What the kernel says is alive, by guest. What was opened while it was asked
        it may have missed.
        """
        self._is_counting = False
        self._by_guest = Counter(alive)
        self._by_guest.update(self._since)
        self._total = self._by_guest.total()
        self._peak = max(self._peak, sum(alive.values()))

    def not_counted(self) -> None:
        """The kernel did not answer; what is known stays."""
        self._is_counting = False

    def forget(self, index: int) -> None:
        """The guest is gone and its flows with it."""
        self._forget_recent()
        self._since.pop(index, None)
        self._total -= self._by_guest.pop(index, 0)

    def counts(self) -> FlowCounts:
        """For the pages."""
        return FlowCounts(
            self._total,
            self._peak,
            self.config.max_system_flows,
            self.config.max_vm_flows,
            self._refused,
            len(self._by_guest),
        )

    def _begin(self, seconds: float) -> None:
        self._is_counting = True
        self._since.clear()
        self._forget_recent()
        self._next_recount = seconds + RECOUNT_INTERVAL
        self._next_usual = seconds + USUAL_INTERVAL

    def _forget_recent(self) -> None:
        """They may end without being counted any more: the next is a flow again."""
        self._recent, self._earlier = {}, {}
