"""Numbers that tell requests apart: one for each request that a guest makes.

They are counted, not drawn at random, because drawing one costs more than all events of
a request. Only where counting begins is random, so that two agents, or one before and
after a restart, do not use the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

NONE = 0
"""Stands for no request."""


def request_ids(entropy: Callable[[int], bytes]) -> Iterator[int]:
    """Numbers of up to 64 bits. `entropy` gives so many random bytes, as `os.urandom`.

    The upper half is random, the lower half counts from 1. The first bit is not used,
    so that a carry out of the lower half always has room.
    """
    upper = int.from_bytes(entropy(4), "big") & 0x7FFF_FFFF
    return count((upper << 32) + 1)


def shown(request_id: int) -> str:
    """The number as 16 hexadecimal digits, which is how people and tools see it."""
    return f"{request_id:016x}"
