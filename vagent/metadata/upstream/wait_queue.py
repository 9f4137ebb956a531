"""The queue of requests that wait for an upstream connection, bounded twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from vagent.metadata.limits import MAX_WAITING
from vagent.metadata.upstream.forwarded_request import ForwardedRequest


class WaitQueue:
    """First come, first served; one guest may have `share` of it: as many as it may
    have in flight, so that a cold start is not refused what a warm one may do.
    """

    def __init__(self, share: int) -> None:
        self._share = share
        self._exchanges: dict[ForwardedRequest, None] = {}
        self._of: Counter[str] = Counter()
        self.needing_fresh = 0

    def admit(self, exchange: ForwardedRequest) -> bool:
        """Let it wait; False when the room, or its guest's share of it, is full."""
        if (
            len(self._exchanges) >= MAX_WAITING
            or self._of[exchange.peer] >= self._share
        ):
            return False
        self._exchanges[exchange] = None
        self._of[exchange.peer] += 1
        self.needing_fresh += exchange.needs_fresh
        return True

    def dismiss(self, exchange: ForwardedRequest) -> bool:
        """It waits no more; False when it did not wait."""
        if exchange not in self._exchanges:
            return False
        del self._exchanges[exchange]
        self.needing_fresh -= exchange.needs_fresh
        self._of[exchange.peer] -= 1
        if not self._of[exchange.peer]:
            del self._of[exchange.peer]
        return True

    def first(
        self, suits: Callable[[ForwardedRequest], bool]
    ) -> ForwardedRequest | None:
        """The one that waits longest of those that suit."""
        return next((one for one in self._exchanges if suits(one)), None)

    def __iter__(self) -> Iterator[ForwardedRequest]:
        return iter(tuple(self._exchanges))

    def __len__(self) -> int:
        return len(self._exchanges)
