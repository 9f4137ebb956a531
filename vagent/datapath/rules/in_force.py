"""Whether the kernel still holds what was written: somebody else may have taken away a
table, a chain, a rule or an element, as `nft flush ruleset` and a firewall's reload do.

The kernel counts transactions. As long as there were no others than ours nothing can be
missing, and a look costs one question. Else rules are counted, and elements compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vagent.datapath.rules.events import RulesLost, RulesUnread
from vagent.datapath.rules.table_counts import missing
from vagent.datapath.system import System
from vagent.errors import KernelError
from vagent.kernel.nf_tables_dump import Elements, TableCounts
from vagent.observe.event import Emit

_TRIES = 3
"""Readings in one look, while other programs change their own rules meanwhile: what was
read over such a change may have gaps."""
_BUSY = "other programs change their own rules without a pause"
_GENERATIONS = 1 << 32


class WantedTable(NamedTuple):
    """What must be there: how many rules and elements, and which elements. `elements`
    is called in a thread.
    """

    counts: TableCounts
    elements: Callable[[], Elements]


class InForce:
    """Compares what was written with what is there.

    `unread` says why the last look failed; "" if it did not.
    """

    def __init__(self, table: str, *, system: System, emit: Emit) -> None:
        self._table = table
        self._system = system
        self._emit = emit
        self._others: int | None = None
        self.unread = ""

    def __repr__(self) -> str:
        return f"<InForce {self._table}: {self._others} of others>"

    async def look(self, wanted: Callable[[], WantedTable], *, ours: int) -> str:
        """What is missing of all this, in words; "" for nothing. The kernel took `ours`
        transactions of ours so far; none may be under way. `wanted` is called where
        there were others.
        """
        try:
            lost = await self._look(wanted, ours)
        except Exception as failure:  # the next look may succeed
            unread = RulesUnread(str(failure))
            # A kernel that refuses for hours is told once.
            if self.unread != unread.text():
                self.unread = unread.text()
                self._emit(unread)
            return ""
        self.unread = ""
        if lost:
            self._emit(RulesLost(lost))
        return lost

    async def _look(self, wanted: Callable[[], WantedTable], ours: int) -> str:
        before = self._system.nft_generation()
        if (before - ours) % _GENERATIONS == self._others:
            return ""
        table, (counts, elements) = self._table, wanted()
        counted = frozenset(place for place, least in counts.elements.items() if least)
        for _ in range(_TRIES):
            held = await self._system.table_counts(table, counted, elements)
            after = self._system.nft_generation()
            lost = "; ".join(missing(counts, held, table))
            if after == before:
                self._others = (after - ours) % _GENERATIONS
                return lost
            before = after
        if lost:
            raise KernelError(f"{_BUSY}; what seems to be gone: {lost}")
        return ""
