"""A clean stop: every request of a guest is answered before its connection ends.

First everything goes on as before, until the requests that were under way at the signal
are answered: however slow these are, new guests do not wait for them. Then opening
packets are held back, which costs a guest a repetition of its SYN and no error; what is
in the listener's backlog is accepted, each response says `Connection: close`, and idle
connections end with FIN. A limit bounds the whole, and `cut` ends it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from vagent.config.model import MetadataProxyConfig
from vagent.metadata.guest.connection import DownstreamConnection
from vagent.metadata.guest.events import GuestsDrained
from vagent.observe.event import Emit

LOOK_SECONDS = 0.05
"""Between two looks at the connections."""
REST_SECONDS = 0.5
"""A connection that has been idle for so long is closed. Sooner, its next request might
be on its way already, or the first one of a new connection."""
COMPLETE_SECONDS = 2.0
"""How long the rest of a request may take once opening packets are held back."""
SETTLE_SECONDS = 0.1
"""Until connections whose opening packet was let in are in the listener's backlog."""
MARGIN_SECONDS = 2.0
"""What the whole may take beyond hold-time and response-timeout."""


def drain_limit(config: MetadataProxyConfig) -> float:
    """The longest that a stop waits for requests of guests, in seconds."""
    return config.hold_time + config.response_timeout + MARGIN_SECONDS


class Drain:
    """One stop. `connections` are those of all guests, `hold_back` makes the data path
    drop the packets that open new ones, and `has_waiting` says whether the kernel has
    some that were not accepted yet.
    """

    def __init__(
        self,
        config: MetadataProxyConfig,
        *,
        connections: Callable[[], Iterable[DownstreamConnection]],
        hold_back: Callable[[], None],
        has_waiting: Callable[[], bool],
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._serve_on = config.response_timeout
        self._limit = drain_limit(config)
        self._connections = connections
        self._hold_back = hold_back
        self._has_waiting = has_waiting
        self._emit = emit
        self._clock = clock
        self._is_cut = False

    def cut(self) -> None:
        """End it at the next look, whatever is under way."""
        self._is_cut = True

    async def run(self) -> None:
        """Returns when no connection is left, or the time is up."""
        begun = self._clock.seconds()
        end = begun + self._limit
        await self._answer_current(min(end, begun + self._serve_on))
        self._hold_back()
        await self._end_connections(end)
        left = sum(1 for _ in self._connections())
        self._emit(GuestsDrained(self._clock.seconds() - begun, left))

    async def _answer_current(self, until: float) -> None:
        """Wait for the requests that are under way now."""
        current = [(one, one.answering) for one in self._connections() if one.answering]
        while self._goes_on(until):
            current = [
                (one, number) for one, number in current if one.answering == number
            ]
            if not current:
                return
            await self._pause()

    async def _end_connections(self, until: float) -> None:
        """Wait until each connection has answered its last request, and is closed."""
        begun = self._clock.seconds()
        while True:
            now = self._clock.seconds()
            for one in list(self._connections()):
                one.leave(
                    idle_since=now - REST_SECONDS, complete_by=begun + COMPLETE_SECONDS
                )
            is_settled = now - begun >= SETTLE_SECONDS and not self._has_waiting()
            is_empty = not any(True for _ in self._connections())
            if (is_empty and is_settled) or not self._goes_on(until):
                return
            await self._pause()

    def _goes_on(self, until: float) -> bool:
        return not self._is_cut and self._clock.seconds() < until

    async def _pause(self) -> None:
        await deferLater(self._clock, LOOK_SECONDS)
