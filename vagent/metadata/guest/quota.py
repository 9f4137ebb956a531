"""What one guest has open and has used up: its share of the proxy, and no more.

An account outlives connections, or a guest would get a full bucket with each new one.
Pure: knows no transport; time is an argument.
"""

from __future__ import annotations

import re
from typing import Protocol

from vagent.metadata.limits import MAX_ACCOUNTS

_BOOT_PATH = re.compile(
    rb"/(?:openstack(?:/.*)?"
    rb"|(?:ec2/)?[^/]+/(?:meta-data|user-data|dynamic)(?:/.*)?"
    rb"|latest/api/token"
    rb"|(?:ec2/?)?(?:(?:latest|[0-9.-]+)/?)?)"
)


def status_when_over(path: bytes) -> int:
    """What a guest over its limits is told.

    cloud-init comes back after 503 but takes 429 for a final answer, so whatever it
    asks in a boot gets 503, and the rest 429 (RFC 6585 §4).
    """
    return 503 if _BOOT_PATH.fullmatch(path) else 429


class QuotaLimits:
    """What one guest may have: requests per second, of which `burst` at once.

    `rate` 0 is no limit. `in_flight` bounds requests that wait for the upstream.
    """

    __slots__ = ("in_flight", "interval", "most_ahead")

    def __init__(self, rate: float, burst: int, in_flight: int) -> None:
        self.interval = 1.0 / rate if rate else 0.0
        # Half an interval of slack is more than rounding and less than a request.
        self.most_ahead = (burst - 0.5) * self.interval
        self.in_flight = in_flight


class Connection(Protocol):
    """A guest's connection, as its account sees it."""

    def cut(self) -> None:
        """Reset it."""


class GuestQuota:
    """One guest. `limited` and `missed` count what was, or would have been, refused."""

    __slots__ = ("_paid_until", "connections", "in_flight", "limited", "missed")

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self.in_flight = 0
        self.limited = 0
        self.missed = 0
        self._paid_until = 0.0

    def takes(self, allowance: QuotaLimits, now: float) -> bool:
        """May it make a request now? If so, it has (a token bucket, kept as a time)."""
        ahead = max(self._paid_until - now, 0.0)
        if ahead > allowance.most_ahead:
            return False
        self._paid_until = now + ahead + allowance.interval
        return True


class GuestQuotas:
    """All accounts, by identity address; at most MAX_ACCOUNTS."""

    def __init__(self) -> None:
        self._accounts: dict[str, GuestQuota] = {}

    def of(self, peer: str) -> GuestQuota:
        """The guest's account, opened if need be in the place of an idle one."""
        account = self._accounts.get(peer)
        if account is None:
            if len(self._accounts) >= MAX_ACCOUNTS:
                self._close_one()
            account = self._accounts[peer] = GuestQuota()
        return account

    def find(self, peer: str) -> GuestQuota | None:
        """The guest's account, if there is one."""
        return self._accounts.get(peer)

    def forget(self, peer: str) -> None:
        """The guest has gone; its successor starts with a full bucket."""
        self._accounts.pop(peer, None)

    def all(self) -> list[tuple[str, GuestQuota]]:
        """Identity addresses and accounts, as they are now."""
        return list(self._accounts.items())

    def __len__(self) -> int:
        return len(self._accounts)

    def _close_one(self) -> None:
        """The oldest without connections; there are fewer of them than accounts."""
        for peer, account in self._accounts.items():
            if not account.connections:
                del self._accounts[peer]
                return
