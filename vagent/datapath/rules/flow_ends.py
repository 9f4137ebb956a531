"""Flows that must end, because their port or their endpoint went.

Otherwise conntrack would carry them on, and the guest that gets the index next would
receive packets that were meant for the guest before it. A flow that the kernel did not
end is tried again until it is ended, whatever becomes of the rules meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection

from vagent.datapath.fast_path.offload import FastPath
from vagent.datapath.state import ENDPOINT_MASK, INDEX_BITS, INDEX_MASK
from vagent.datapath.system import System


class FlowEnds:
    """The flows that must be ended and are not yet, as pairs of a conntrack mark and
    mask.
    """

    def __init__(self, *, system: System, fast_path: FastPath) -> None:
        self._system = system
        self._fast_path = fast_path
        self._owed: dict[tuple[int, int], None] = {}

    def __len__(self) -> int:
        return len(self._owed)

    @property
    def any_owed(self) -> bool:
        """Are there flows that must be ended and are not yet?"""
        return bool(self._owed)

    def owe_index(self, index: int) -> None:
        """Note that all flows opened by the identity with this index must be ended."""
        self._owed[index, INDEX_MASK] = None

    def owe_endpoints(self, numbers: Collection[int]) -> None:
        """Note that all flows to these endpoints must be ended."""
        for number in numbers:
            self._owed[number << INDEX_BITS, ENDPOINT_MASK] = None

    def owes_index(self, index: int) -> bool:
        """Are there flows of this index that must be ended and are not yet?"""
        return (index, INDEX_MASK) in self._owed

    async def meet(self) -> None:
        """End the flows that were noted. Where the kernel refuses, those flows and all
        that come after them stay noted for the next call. Raises what the system
        raises.
        """
        for mark, mask in [*self._owed]:
            # First where conntrack does not see their packets.
            self._fast_path.end(mark, mask)
            await self._system.end_flows(mark, mask)
            del self._owed[mark, mask]
