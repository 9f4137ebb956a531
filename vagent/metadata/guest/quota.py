"""What one guest uses of the proxy, and the limits of that: its quota.

A quota outlives the guest's connections, or each new connection would come with a full
token bucket. Pure: no transport, and time is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vagent.metadata.limits import MAX_QUOTAS

if TYPE_CHECKING:
    from vagent.metadata.guest.connection import DownstreamConnection

_BOOT_PATH = re.compile(
    rb"/(?:(?:openstack|nocloud)(?:/.*)?"
    rb"|(?:ec2/)?[^/]+/(?:meta-data|user-data|dynamic)(?:/.*)?"
    rb"|latest/api/token"
    rb"|(?:ec2/?)?(?:(?:latest|[0-9.-]+)/?)?)"
)


def status_when_over(path: bytes) -> int:
    """The HTTP status for a request over the guest's limits.

    cloud-init repeats a request after 503 but gives up after 429, so every path that it
    asks for while a machine boots gets 503, and the others 429 (RFC 6585 §4).
    """
    return 503 if is_boot_path(path) else 429


def is_boot_path(path: bytes) -> bool:
    """Is it one of the paths that clients ask for while a machine boots?"""
    return _BOOT_PATH.fullmatch(path) is not None


class QuotaLimits:
    """The limits, the same for every guest.

    `rate` is requests per second (0: unlimited), `burst` how many of them may come at
    once, `in_flight` how many requests may wait for the upstream at a time.
    """

    __slots__ = ("burst_tolerance", "in_flight", "interval")

    def __init__(self, rate: float, burst: int, in_flight: int) -> None:
        self.interval = 1.0 / rate if rate else 0.0
        # Half an interval of slack covers rounding and is less than one request.
        self.burst_tolerance = (burst - 0.5) * self.interval
        self.in_flight = in_flight


class GuestQuota:
    """What one guest uses.

    `limited` counts requests and connections that were refused for a limit, `missed`
    the requests that would have been refused if session tokens were required;
    `long_polls` are those of its requests that wait until a document changes.
    """

    __slots__ = (
        "_full_at",
        "connections",
        "in_flight",
        "limited",
        "long_polls",
        "missed",
    )

    def __init__(self) -> None:
        self.connections: set[DownstreamConnection] = set()
        self.in_flight = 0
        self.limited = 0
        self.long_polls = 0
        self.missed = 0
        self._full_at = 0.0

    def take_token(self, limits: QuotaLimits, now: float) -> bool:
        """May the guest make a request now? True takes a token from its bucket.

        The bucket is stored as the time at which it will be full again (the generic
        cell rate algorithm), so nothing has to refill it.
        """
        ahead = self._full_at - now
        if ahead < 0.0:
            ahead = 0.0
        elif ahead > limits.burst_tolerance:
            return False
        self._full_at = now + ahead + limits.interval
        return True


class GuestQuotas:
    """The quotas of all guests, by their main identity; at most MAX_QUOTAS."""

    def __init__(self) -> None:
        self._quotas: dict[str, GuestQuota] = {}

    def of(self, identity: str) -> GuestQuota:
        """The guest's quota. A new one takes the place of one without connections."""
        quota = self._quotas.get(identity)
        if quota is None:
            if len(self._quotas) >= MAX_QUOTAS:
                self._drop_one()
            quota = self._quotas[identity] = GuestQuota()
        return quota

    def find(self, identity: str) -> GuestQuota | None:
        """The guest's quota, if there is one."""
        return self._quotas.get(identity)

    def forget(self, identity: str) -> None:
        """The port is gone; the next one with its identity has a full bucket."""
        self._quotas.pop(identity, None)

    def all(self) -> list[tuple[str, GuestQuota]]:
        """Main identities and quotas, as they are now."""
        return list(self._quotas.items())

    def connections(self) -> Iterator[DownstreamConnection]:
        """All that are open. None may be opened or closed meanwhile."""
        for quota in self._quotas.values():
            yield from quota.connections

    def _drop_one(self) -> None:
        """Drop the oldest without connections: there are fewer connections than
        quotas, so there is one.
        """
        for identity, quota in self._quotas.items():
            if not quota.connections:
                del self._quotas[identity]
                return
