"""Which flows may take the fast path: pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from vagent.datapath.state import INDEX_BITS, INDEX_MASK, LISTENER, REFUSE
from vagent.datapath.tap.flow_entry import Match
from vagent.kernel.conntrack import (
    DYING,
    ESTABLISHED,
    HELPED,
    OFFLOADED,
    SEEN_REPLY,
    SEQUENCE_ADJUSTED,
    Tracked,
)
from vagent.kernel.ip_packet import TCP

MAX_TRIES_OF_GUEST = 16
"""Candidates of one guest that are looked at in a second: each look asks conntrack, and
a flow that is not looked at becomes a candidate again."""

_ODD = SEQUENCE_ADJUSTED | DYING | HELPED | OFFLOADED


def why_not(match: Match, index: int, tracked: Tracked | None) -> str:
    """Why a flow stays on the usual way, or "". `index` is that of the attachment with
    the tap, MAC and address of the match; `tracked` is the flow in conntrack.
    """
    if tracked is None:
        return "conntrack does not have it"
    if tracked.mark & INDEX_MASK != index:
        return "it is another's"
    if tracked.mark >> INDEX_BITS in (0, LISTENER, REFUSE):
        return "it ends on this host"
    if tracked.status & _ODD:
        return "somebody else looks into it"
    if not tracked.status & SEEN_REPLY:
        return "it was not answered"
    if match.protocol == TCP and tracked.tcp_state != ESTABLISHED:
        return "it is not established"
    if tracked.reply.source.version != 4 or tracked.reply.source.is_loopback:
        return "it ends on this host"
    return ""


@dataclass(slots=True)
class Tries:
    """Counts the looks at candidates of each guest, in the second since `since`."""

    since: float = 0.0
    made: Counter[int] = field(default_factory=Counter)

    def take(self, guest: int, now: float) -> bool:
        """Count one more; False where the guest has had all of this second."""
        if now - self.since >= 1.0:
            self.since = now
            self.made.clear()
        self.made[guest] += 1
        return self.made[guest] <= MAX_TRIES_OF_GUEST
