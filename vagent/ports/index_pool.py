"""Which indexes of the identity range are taken: plain book-keeping, no ports.

Free indexes wait in a queue and the one that has been free the longest is given first,
so a new guest does not meet what conntrack still remembers of the last one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network

from vagent.errors import LimitError
from vagent.ports.identity import AGENT_INDEX

FIRST_INDEX = AGENT_INDEX + 1


class IndexPool:
    """Gives out the indexes of an IPv4 network, each to one holder at a time.

    Index 0 (the network itself), 1 (the agent) and that of the broadcast address are
    never given. The network needs a prefix of /30 or shorter.
    """

    def __init__(self, network: IPv4Network) -> None:
        self.network = network
        self._end = network.num_addresses - 1
        if self._end <= FIRST_INDEX:
            raise LimitError(f"identity range {network} has no room for a guest (/30)")
        self._free: deque[int] = deque(range(FIRST_INDEX, self._end))
        self._held: set[int] = set()

    def __repr__(self) -> str:
        return f"<IndexPool {self.network} {len(self._held)}/{self.capacity}>"

    @property
    def capacity(self) -> int:
        """How many guests fit."""
        return self._end - FIRST_INDEX

    def take(self) -> int:
        """The index that has been free the longest. Raises LimitError when full."""
        if not self._free:
            raise LimitError(
                f"identity range {self.network} is full ({self.capacity} ports)"
            )
        index = self._free.popleft()
        self._held.add(index)
        return index

    def give_back(self, index: int) -> None:
        """The index is free; it goes to the end of the queue."""
        self._held.remove(index)
        self._free.append(index)

    def hold(self, wanted: Collection[int]) -> frozenset[int]:
        """Take these very indexes, which the journal names at start, as far as they are
        free. Returns the ones taken; one outside the range is left out.

        The queue continues behind the highest, because an index below it may have been
        free for a short time only. The cost grows with the range: call it once.
        """
        held = frozenset(
            index
            for index in wanted
            if FIRST_INDEX <= index < self._end and index not in self._held
        )
        self._held |= held
        start = max(held, default=0)
        free = sorted(index for index in self._free if index not in held)
        self._free = deque(
            [n for n in free if n > start] + [n for n in free if n < start]
        )
        return held

    def address_of(self, index: int) -> IPv4Address:
        """The identity address with this index."""
        return IPv4Address(int(self.network.network_address) + index)
