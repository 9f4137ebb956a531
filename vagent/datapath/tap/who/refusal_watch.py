"""Tells what is refused at the taps: the first of each kind at once, and all that the
kernel remembers whenever somebody asks.

A guest may invent any number of MAC addresses. What is told of it is counted by port
(or tap) and reason, so neither log, traces nor memory grow with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vagent.datapath.tap.layout import DropReason, GuestPlace, Refused
from vagent.datapath.tap.who.events import GuestRefused, RefusalsUnread
from vagent.datapath.tap.who.refusals import AtTap, Refusal, refusal_of, refusals_of
from vagent.errors import KernelError
from vagent.observe.event import Emit
from vagent.store.worker import RunInThread

NEWS_SECONDS = 0.5
"""Between two looks for news; a look costs one system call when there is none. A guest
that waits to be learned repeats its opening packet after a second."""
LOOK_EVERY = 10
"""Looks for news between two looks at all that the kernel remembers (4,096 senders take
it some 10 ms, in a thread)."""
RECENT_SECONDS = LOOK_EVERY * NEWS_SECONDS + 1
"""What a look finds of so long ago may not have been told."""
AGAIN_SECONDS = 60.0
"""Until the next one of a kind is told."""
MAX_KINDS = 4096
"""Ports (or taps) and reasons that are told in AGAIN_SECONDS."""


class RefusingKernel(Protocol):
    """What the kernel knows of refused frames. Both raise KernelError."""

    def news(self) -> Iterable[GuestPlace]:
        """Senders that were refused for the first time, or again after a minute, since
        the last call.
        """

    def refusals(self) -> Iterable[tuple[GuestPlace, Refused]]:
        """All that are remembered: those of the last packets."""


class RefusalWatch:
    """Looks from `start` to `stop`. `refusals` is what the last look found, the latest
    first. `name_of` gives the name of an interface, "" for one that is gone. `heard` is
    called with each refusal that is news, told or not, and `looked` with all after each
    look; both also with what was not dropped, but tells an address that may be learned.
    `now` is the kernel's monotonic clock in nanoseconds.
    """

    def __init__(
        self,
        kernel: RefusingKernel,
        *,
        name_of: Callable[[int], str],
        at_tap: AtTap,
        heard: Callable[[Refusal], None],
        looked: Callable[[tuple[Refusal, ...]], None],
        run_in_thread: RunInThread,
        emit: Emit,
        clock: IReactorTime,
        now: Callable[[], int],
    ) -> None:
        self.refusals: tuple[Refusal, ...] = ()
        self._kernel = kernel
        self._name_of = name_of
        self._at_tap = at_tap
        self._heard = heard
        self._looked = looked
        self._run_in_thread = run_in_thread
        self._emit = emit
        self._clock = clock
        self._now = now
        self._told: dict[tuple[str, DropReason], float] = {}
        self._trouble = ""
        self._looks = 0
        self._next: IDelayedCall | None = None
        self._is_running = False

    def __repr__(self) -> str:
        return f"<RefusalWatch {len(self.refusals)} senders>"

    def start(self) -> None:
        """Look now, and every NEWS_SECONDS from now on."""
        self._is_running = True
        Deferred.fromCoroutine(self._look_and_go_on())

    def stop(self) -> None:
        """Look no more."""
        self._is_running = False
        if self._next is not None and self._next.active():
            self._next.cancel()

    def of_port(self, port_id: str) -> tuple[Refusal, ...]:
        """What the last look found of one port, the latest first."""
        return tuple(
            each for each in self.refusals if each.port and each.port.id == port_id
        )

    async def look(self) -> None:
        """Read all that the kernel remembers, and tell what is recent: a guest that
        invents senders fills the queue of news before those of others come.
        """
        found = await self._run_in_thread(lambda: tuple(self._kernel.refusals()))
        seen = refusals_of(found, self._name_of, self._at_tap, now=self._now())
        self.refusals = tuple(each for each in seen if each.was_dropped)
        self._looked(seen)
        for refusal in self.refusals:
            if refusal.ago < RECENT_SECONDS:
                self._tell(refusal)

    async def _look_and_go_on(self) -> None:
        try:
            self._hear()
            if self._looks % LOOK_EVERY == 0:
                await self.look()
            self._trouble = ""
        except KernelError as failure:
            if str(failure) != self._trouble:  # else it would be told for ever
                self._trouble = str(failure)
                self._emit(RefusalsUnread(self._trouble))
        self._looks += 1
        if self._is_running:
            self._next = self._clock.callLater(NEWS_SECONDS, self.start)

    def _hear(self) -> None:
        for place in self._kernel.news():
            tap = self._name_of(place.ifindex)
            refusal = refusal_of(place, tap, self._at_tap) if tap else None
            if refusal is not None:
                self._heard(refusal)
                self._tell(refusal)

    def _tell(self, refusal: Refusal) -> None:
        if refusal.reason is DropReason.UNLEARNED:  # which has events of its own
            return
        before, seconds = self._told.get(refusal.kind), self._clock.seconds()
        if before is not None and seconds - before < AGAIN_SECONDS:
            return
        if len(self._told) >= MAX_KINDS:
            self._told = {
                kind: told
                for kind, told in self._told.items()
                if seconds - told < AGAIN_SECONDS
            }
        if len(self._told) < MAX_KINDS:
            self._told[refusal.kind] = seconds
            self._emit(GuestRefused(refusal))
