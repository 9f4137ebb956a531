"""The connections of one site, and who has how many. Pure."""

from __future__ import annotations

from collections import Counter

MAX_CONNECTIONS = 64
"""Connections of one site at a time: with the longest bodies (4 MiB) they take 256 MiB
at most."""
SHARE = MAX_CONNECTIONS // 2
"""Connections of one operator, and of all callers together who are none."""
FOR_ROOT = MAX_CONNECTIONS // 8
"""The last places, which only root gets."""


class Places:
    """Counts connections by user id; None stands for everybody who is no operator."""

    def __init__(self) -> None:
        self._taken: Counter[int | None] = Counter()

    def __len__(self) -> int:
        return self._taken.total()

    def take(self, uid: int | None) -> bool:
        """Whether there is a place for one more. Root has no share but the whole."""
        taken = len(self)
        if uid == 0:
            is_free = taken < MAX_CONNECTIONS
        else:
            is_free = taken < MAX_CONNECTIONS - FOR_ROOT and self._taken[uid] < SHARE
        if is_free:
            self._taken[uid] += 1
        return is_free

    def leave(self, uid: int | None) -> None:
        """The place of a connection is free again."""
        self._taken[uid] -= 1
        if not self._taken[uid]:
            del self._taken[uid]
