"""Numbers of the identity range, one per port: plain book-keeping.

Free numbers wait in one queue and the longest free is given first, so a new guest
does not meet what conntrack still remembers of the last one. Knows no port.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network

from vagent.errors import LimitError

AGENT_INDEX = 1
"""The agent's own address; guests follow."""
FIRST_INDEX = AGENT_INDEX + 1


class IdentityRange:
    """Which numbers of an IPv4 network are taken.

    Number n stands for the n-th address of the network; 0 (the network itself), 1 (the
    agent) and the broadcast address are never given. The network needs a prefix of
    /30 or shorter.
    """

    def __init__(self, network: IPv4Network) -> None:
        self.network = network
        self._end = network.num_addresses - 1
        if self._end <= FIRST_INDEX:
            raise LimitError(f"identity range {network} has no room for a guest (/30)")
        self._free: deque[int] = deque(range(FIRST_INDEX, self._end))
        self._held: set[int] = set()

    def __repr__(self) -> str:
        return f"<IdentityRange {self.network} {len(self._held)}/{self.capacity}>"

    @property
    def capacity(self) -> int:
        """How many guests fit."""
        return self._end - FIRST_INDEX

    def take(self) -> int:
        """The number that has been free the longest. Raises LimitError when full."""
        if not self._free:
            raise LimitError(
                f"identity range {self.network} is full ({self.capacity} ports)"
            )
        index = self._free.popleft()
        self._held.add(index)
        return index

    def give_back(self, index: int) -> None:
        """The number is free; it goes to the end of the queue."""
        self._held.remove(index)
        self._free.append(index)

    def hold(self, wanted: Collection[int]) -> frozenset[int]:
        """Take these very numbers (at start, from the journal) as far as possible.

        Returns those now held; a number outside the range, or taken, is left out. The
        queue continues behind the highest: what lies below may have been free for a
        short time only. Costs as much as the range is large: call it once.
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
        """The address that a number stands for."""
        return IPv4Address(int(self.network.network_address) + index)

    def index_of(self, address: IPv4Address) -> int | None:
        """The number of an address, or None where no guest may have it."""
        index = int(address) - int(self.network.network_address)
        return index if FIRST_INDEX <= index < self._end else None
