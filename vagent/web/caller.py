"""Who calls an operator's site, and which users are operators."""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Callable
from dataclasses import dataclass

GROUP = "vagent"
"""The group whose members may do what root may, as far as the agent's APIs go."""
REMEMBERED = 10.0
"""Seconds until the system is asked again about a user. It may ask a name server."""
MAX_REMEMBERED = 1024
"""Users that are remembered at a time."""


@dataclass(frozen=True, slots=True)
class SiteCaller:
    """The other end of a connection. `way` is `socket` or `TCP`; `uid` and `gid` are
    those of the process that opened it, None where they are not known; `address` is
    where it comes from, over TCP.
    """

    way: str
    uid: int | None = None
    gid: int | None = None
    address: str = ""

    def __str__(self) -> str:
        user = "unknown user" if self.uid is None else f"uid {self.uid}"
        group = "" if self.gid is None else f" gid {self.gid}"
        source = f" from {self.address}" if self.address else ""
        return f"{user}{group} over {self.way}{source}"


def group_id(name: str = GROUP) -> int | None:
    """The id of a group; None where the host has none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, OSError):
        return None


def groups_of(uid: int) -> frozenset[int]:
    """The ids of all groups of a user, the supplementary ones included; none where the
    host knows no such user.
    """
    try:
        user = pwd.getpwuid(uid)
        return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
    except (KeyError, OSError):
        return frozenset()


class Operators:
    """The users who may use the operator's APIs: root, and members of the group. What
    the system says of a user counts for REMEMBERED seconds.
    """

    def __init__(
        self,
        *,
        group: Callable[[], int | None] = group_id,
        groups: Callable[[int], frozenset[int]] = groups_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._groups = groups
        self._clock = clock
        self._known: dict[int, tuple[float, bool]] = {}

    def __repr__(self) -> str:
        return f"<Operators {len(self._known)} users known>"

    def has(self, uid: int) -> bool:
        """Is this user root or a member of the group?"""
        if uid == 0:
            return True
        now = self._clock()
        found = self._known.get(uid)
        if found is None or found[0] <= now:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            group = self._group()
            found = now + REMEMBERED, group is not None and group in self._groups(uid)
            self._known[uid] = found
        return found[1]
