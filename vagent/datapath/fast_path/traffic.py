"""What flows have carried on the fast path, where conntrack does not see it."""

from __future__ import annotations

from vagent.datapath.fast_path.kernel import FastPathKernel
from vagent.datapath.flows.flow import FastPathTraffic, FlowId
from vagent.kernel.conntrack import Tracked, Traffic

MAX_PAST = 1024
"""Flows that left the fast path whose traffic there is remembered for flow lists."""


class TrafficCounts:
    """Counts what a flow has carried on the fast path: the counters of its present
    entries, and what earlier entries of the same flow had counted.
    """

    def __init__(self, kernel: FastPathKernel) -> None:
        self._kernel = kernel
        self._past: dict[FlowId, FastPathTraffic] = {}

    def past(self) -> dict[FlowId, FastPathTraffic]:
        """The traffic of flows that have left the fast path."""
        return dict(self._past)

    def of(
        self, tracked: Tracked, there: bytes, back: bytes, *, is_on_it: bool
    ) -> FastPathTraffic:
        """All traffic of a flow, by the keys of its entries. Raises KernelError."""
        none = Traffic(0, 0)
        past = self._past.get((tracked.id, tracked.original))
        sent, received = (past.sent, past.received) if past else (none, none)
        return FastPathTraffic(
            self._more(sent, there), self._more(received, back), is_on_it
        )

    def keep(self, tracked: Tracked, traffic: FastPathTraffic) -> None:
        """Remember the traffic of a flow that leaves; the oldest are forgotten."""
        self._past[tracked.id, tracked.original] = traffic
        while len(self._past) > MAX_PAST:
            del self._past[next(iter(self._past))]

    def _more(self, past: Traffic, key: bytes) -> Traffic:
        count = self._kernel.count(key)
        if count is None:
            return past
        return Traffic(past.packets + count.packets, past.bytes + count.bytes)
