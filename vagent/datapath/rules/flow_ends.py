"""Flows that must end, because their port or their endpoint went.

Without this conntrack would carry them on, and the guest that gets the index next would
hear what was meant for the one before. What the kernel did not do stays owed until it
has done it, whatever becomes of the rules meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection

from vagent.datapath.fast_path.offload import FastPath
from vagent.datapath.state import ENDPOINT_MASK, INDEX_BITS, INDEX_MASK
from vagent.datapath.system import System


class FlowEnds:
    """The flows that are owed an end, as conntrack marks under a mask."""

    def __init__(self, *, system: System, fast_path: FastPath) -> None:
        self._system = system
        self._fast_path = fast_path
        self._owed: dict[tuple[int, int], None] = {}

    def __len__(self) -> int:
        return len(self._owed)

    @property
    def any_owed(self) -> bool:
        """Is the end of any flows still owed?"""
        return bool(self._owed)

    def owe_index(self, index: int) -> None:
        """End all flows that the identity with this index opened."""
        self._owed[index, INDEX_MASK] = None

    def owe_endpoints(self, numbers: Collection[int]) -> None:
        """End all flows that go to these endpoints."""
        for number in numbers:
            self._owed[number << INDEX_BITS, ENDPOINT_MASK] = None

    def owes_index(self, index: int) -> bool:
        """Is the end of this identity's flows still owed?"""
        return (index, INDEX_MASK) in self._owed

    async def meet(self) -> None:
        """End them. What the kernel refuses stays owed, with all that comes after it.
        Raises what the system raises.
        """
        for mark, mask in [*self._owed]:
            # First where conntrack does not see their packets.
            self._fast_path.end(mark, mask)
            await self._system.end_flows(mark, mask)
            del self._owed[mark, mask]
