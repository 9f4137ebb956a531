"""How many flows a guest and the host may have: pure counting, no kernel.

The kernel knows which flows are alive, the agent which ones it has let in. To count
what was let in costs nothing, and the count is never too low. When it reaches a ceiling
the kernel is asked, at most once in RECOUNT_INTERVAL; until it has answered the ceiling
holds. While there are flows it is asked from time to time as well, so that the numbers
shown are right.

Several packets of one flow may wait in the queue together, and each comes as one that
opens a flow: a SYN and its repetition, two datagrams in a row. The flow is counted with
the first of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from vagent.config.model import LinkLocalFlowsConfig
from vagent.datapath.trap.decide import Reason
from vagent.kernel.ip_packet import OpeningPacket

RECOUNT_INTERVAL = 1.0
"""Seconds between two counts of the kernel's flows while a ceiling is reached: each
reads the host's flow table, some 0.3 s for 5,000 flows, in a thread of its own."""
USUAL_INTERVAL = 15.0
"""The same while no ceiling is reached."""
RECENT = 2_048
"""Flows let in last that are remembered come in two generations of this size. Together
they are as many as the queue holds by default, so of two packets in it the first is
still known when the second gets its verdict."""
RESERVED = 8
SHARE = 64
"""The last eighth of the host's flows is reserved for guests that have less than a
sixty-fourth of them: guests that take all they get leave room for the others."""


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """What the pages show.

    `now` is never too low; `peak` is the most that the kernel ever counted, `refused`
    how many flows a ceiling kept out, `guests` how many guests have any.
    """

    now: int
    peak: int
    refused: int
    guests: int


@dataclass(slots=True)
class FlowLimits:
    """Counts by the first index of the guest's port. `seconds` are those of a steady
    clock.
    """

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

    def why_full(self, guest: int) -> Reason | None:
        """The ceiling that keeps a further flow of this guest out, if any does."""
        has, config = self._by_guest.get(guest, 0), self.config
        if has >= config.max_vm_flows:
            return Reason.GUEST_LIMIT
        most = config.max_system_flows
        if self._total < most - most // RESERVED:
            return None
        if self._total >= most or has >= most // SHARE > 0:
            return Reason.HOST_LIMIT
        return None

    def endpoint_given(self, opening: OpeningPacket) -> int:
        """The endpoint of the flow that such a packet opened just now, which is counted
        already; 0 where there is no such flow.
        """
        return self._recent.get(opening) or self._earlier.get(opening, 0)

    def opened(self, guest: int, opening: OpeningPacket, endpoint: int) -> None:
        """A flow of this guest was let in, to this endpoint."""
        if len(self._recent) >= RECENT:
            self._earlier, self._recent = self._recent, {}
        self._recent[opening] = endpoint
        self._by_guest[guest] = self._by_guest.get(guest, 0) + 1
        self._since[guest] = self._since.get(guest, 0) + 1
        self._total += 1

    def refused(self) -> None:
        """A ceiling kept a flow out."""
        self._refused += 1

    def begin_recount(self, seconds: float) -> bool:
        """Begin a recount because a ceiling is reached, if one is due. True if it has
        begun: the caller asks the kernel and calls `recounted` or `not_counted`.
        """
        if self._is_counting or seconds < self._next_recount:
            return False
        self._begin(seconds)
        return True

    def begin_usual_recount(self, seconds: float) -> bool:
        """The same because a while has passed, if there is any flow."""
        return (
            self._total > 0
            and seconds >= self._next_usual
            and self.begin_recount(seconds)
        )

    def recounted(self, alive: Mapping[int, int]) -> None:
        """The kernel has these flows, by guest. It may have missed what was opened
        while it was asked, so that is added.
        """
        self._is_counting = False
        self._by_guest = Counter(alive)
        self._by_guest.update(self._since)
        self._total = self._by_guest.total()
        self._peak = max(self._peak, sum(alive.values()))

    def not_counted(self) -> None:
        """The kernel did not answer; the counts stay."""
        self._is_counting = False

    def forget(self, guest: int) -> None:
        """The guest is gone and its flows with it."""
        self._forget_recent()
        self._since.pop(guest, None)
        self._total -= self._by_guest.pop(guest, 0)

    def counts(self) -> FlowCounts:
        """For the pages."""
        return FlowCounts(
            self._total,
            self._peak,
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
        """A flow let in before may have ended by now; its next packet opens another."""
        self._recent, self._earlier = {}, {}
