"""Puts the program back at a tap from which somebody removed it with its queueing
discipline.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from vagent.datapath.rules.events import RulesLost, RulesUnread
from vagent.datapath.tap.guard import TapGuard
from vagent.errors import KernelError
from vagent.kernel.tc import DisciplineChange
from vagent.observe.event import Emit

PUT_BACK_AFTER = 0.05
"""Seconds in which whoever removed a discipline may add it anew, before we add one:
libvirt runs half a dozen commands in between, and fails where there is one already."""


class LostFilters:
    """Follows what the kernel tells of disciplines at `taps`."""

    def __init__(self, taps: TapGuard, *, emit: Emit, clock: IReactorTime) -> None:
        self._taps = taps
        self._emit = emit
        self._clock = clock

    def discipline_changed(self, change: DisciplineChange) -> None:
        """A discipline has come, where the program can be at once, or has gone."""
        if change.ifindex not in self._taps:
            return
        if change.is_gone:
            self._clock.callLater(PUT_BACK_AFTER, self._put_back, change.ifindex)
        else:
            self._put_back(change.ifindex)

    def _put_back(self, ifindex: int) -> None:
        try:
            was_lost = self._taps.put_back(ifindex)
        except KernelError as failure:
            self._emit(RulesUnread(str(failure)))  # the next look tries again
            return
        if was_lost:
            self._emit(RulesLost(f"the program at interface {ifindex} is gone"))
