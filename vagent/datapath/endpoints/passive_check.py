"""Passive health check: looks at some new flows a moment later, whether they have
got a reply.

To ask conntrack about one flow costs some 50 us, so not every flow is looked at: one a
second to an endpoint that is well, else one of each guest at a time. Nothing is added
to the way of a packet, and no other program's flows are seen. `health` decides what an
outcome means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vagent.datapath.endpoints.events import FlowNotSeen
from vagent.datapath.endpoints.health import EndpointHealth, Key
from vagent.datapath.state import INDEX_BITS
from vagent.errors import KernelError, WireError
from vagent.kernel.conntrack import SEEN_REPLY, Tracked
from vagent.kernel.ip_packet import TCP, OpeningPacket
from vagent.observe.event import Emit

FIRST_LOOK = 0.5
"""Seconds after a flow was opened: by then an endpoint that works has answered, and one
that refuses has reset the flow."""
LAST_LOOK = 3.0
"""Seconds after which silence is a failure. TCP repeats its opening packet after one
second, and a name server that has to ask others may take longer than the first look."""
INTERVAL = 0.5
"""Seconds between two rounds of looking, while any flow waits for one."""
WELL_FOR = 1.0
"""Seconds after a reply for which no further flow to that endpoint is looked at."""
MAX_WATCHED = 128
"""Flows that wait to be looked at: one round takes some 6 ms for as many."""
MAX_WATCHED_OF_GUEST = 8
"""Flows of one guest among them: it must not keep out the flows of the others."""


class _Seen(Enum):
    REPLIED = 1
    SILENT = 2
    GONE = 3
    OTHER = 4


@dataclass(slots=True)
class _Watched:
    packet: OpeningPacket
    mark: int
    opened: float
    due: float


class PassiveCheck:
    """Tells `health` what became of flows. `find` asks conntrack for the flow that a
    packet opened; None where there is none any more. It raises KernelError and
    WireError.
    """

    def __init__(
        self,
        health: EndpointHealth,
        *,
        find: Callable[[OpeningPacket], Tracked | None],
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._health = health
        self._find = find
        self._emit = emit
        self._clock = clock
        self._watched: dict[tuple[Key, int], _Watched] = {}
        self._of_guest: Counter[int] = Counter()
        self._well_until: dict[Key, float] = {}
        self._next: IDelayedCall | None = None

    def __repr__(self) -> str:
        return f"<PassiveCheck of {len(self._watched)} flows>"

    def opened(self, packet: OpeningPacket, mark: int, index: int) -> None:
        """A flow of this guest was let in towards a fabric endpoint, with this mark."""
        key = mark >> INDEX_BITS, packet.protocol
        now = self._clock.seconds()
        if now < self._well_until.get(key, 0.0) and self._health.is_well(*key):
            return
        if (
            (key, index) in self._watched
            or len(self._watched) >= MAX_WATCHED
            or self._of_guest[index] >= MAX_WATCHED_OF_GUEST
        ):
            return
        self._watched[key, index] = _Watched(packet, mark, now, now + FIRST_LOOK)
        self._of_guest[index] += 1
        if self._next is None:
            self._next = self._clock.callLater(INTERVAL, self._look)

    def forget(self, index: int) -> None:
        """The guest is gone, and its flows are ended: look at none of them."""
        for key in [each for each in self._watched if each[1] == index]:
            self._drop(key)

    def follow(self, numbers: frozenset[int]) -> None:
        """Services lead to these endpoints now; flows to others are ended."""
        for key in [each for each in self._watched if each[0][0] not in numbers]:
            self._drop(key)
        self._well_until = {
            key: until for key, until in self._well_until.items() if key[0] in numbers
        }

    def stop(self) -> None:
        """Look at nothing any more."""
        self._watched.clear()
        self._of_guest.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _look(self) -> None:
        self._next = None
        now = self._clock.seconds()
        for key, watched in [*self._watched.items()]:
            if watched.due <= now:
                self._look_at(key, watched, now)
        self._health.prune(now)
        if self._watched:
            self._next = self._clock.callLater(INTERVAL, self._look)

    def _look_at(self, key: tuple[Key, int], watched: _Watched, now: float) -> None:
        (number, protocol), index = key
        seen = self._seen(watched)
        if seen is _Seen.SILENT and now < watched.opened + LAST_LOOK:
            watched.due = watched.opened + LAST_LOOK
            return
        self._drop(key)
        if seen is _Seen.REPLIED:
            self._well_until[number, protocol] = now + WELL_FOR
            self._health.replied(number, protocol)
        elif seen is _Seen.SILENT or (seen is _Seen.GONE and protocol == TCP):
            self._health.failed(number, protocol, index, now)

    def _seen(self, watched: _Watched) -> _Seen:
        """What conntrack says of a flow. It forgets a TCP flow whose first answer is a
        reset, hence GONE.
        """
        try:
            tracked = self._find(watched.packet)
        except (KernelError, WireError) as failure:
            self._emit(FlowNotSeen(str(failure)))
            return _Seen.OTHER
        if tracked is None:
            return _Seen.GONE
        if tracked.mark != watched.mark:
            return _Seen.OTHER
        return _Seen.REPLIED if tracked.status & SEEN_REPLY else _Seen.SILENT

    def _drop(self, key: tuple[Key, int]) -> None:
        del self._watched[key]
        index = key[1]
        self._of_guest[index] -= 1
        if not self._of_guest[index]:
            del self._of_guest[index]
