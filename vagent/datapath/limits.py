"""How many flows a guest and the host may have: pure counting, no kernel.

The kernel knows which flows are alive, the agent which it has let in. Counting what was
let in is free and never too low; only when such a count reaches a ceiling is the kernel
asked again, at most once in RECOUNT_INTERVAL, and until it answers the ceiling holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vagent.config.model import LinkLocalFlowsConfig

RECOUNT_INTERVAL = 1.0
"""Seconds between two counts of the kernel's flows while a ceiling is reached: each
reads the host's flow table, some 0.3 s for 5,000 flows, in a thread of its own."""


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """The picture for pages: flows now (never too low), the most there were."""

    now: int
    peak: int
    ceiling: int
    guest_ceiling: int


@dataclass(slots=True)
class FlowLimits:
    """Counts by the index of the port. `seconds` are those of a steady clock."""

    config: LinkLocalFlowsConfig
    _by_guest: dict[int, int] = field(default_factory=dict)
    _total: int = 0
    _peak: int = 0
    _next_recount: float = 0.0

    def guest_is_full(self, index: int) -> bool:
        """Has this guest all the flows that it may have?"""
        return self._by_guest.get(index, 0) >= self.config.max_vm_flows

    def host_is_full(self) -> bool:
        """Has the host?"""
        return self._total >= self.config.max_system_flows

    def opened(self, index: int) -> None:
        """A flow of this guest was let in."""
        self._by_guest[index] = self._by_guest.get(index, 0) + 1
        total = self._total = self._total + 1
        if total > self._peak:
            self._peak = total

    def should_recount(self, seconds: float) -> bool:
        """A ceiling is reached: is it time to ask the kernel again? Says yes once."""
        if seconds < self._next_recount:
            return False
        self._next_recount = seconds + RECOUNT_INTERVAL
        return True

    def recounted(self, alive: Mapping[int, int]) -> None:
        """What the kernel says is alive, by guest."""
        self._by_guest = dict(alive)
        self._total = sum(alive.values())
        self._peak = max(self._peak, self._total)

    def forget(self, index: int) -> None:
        """The guest is gone and its flows with it."""
        self._total -= self._by_guest.pop(index, 0)

    def counts(self) -> FlowCounts:
        """For the pages."""
        return FlowCounts(
            self._total,
            self._peak,
            self.config.max_system_flows,
            self.config.max_vm_flows,
        )
