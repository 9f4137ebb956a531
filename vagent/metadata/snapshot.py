"""The proxy as it is at one moment, for pages and people. No secrets, no documents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vagent.config.model import MetadataProxyConfig
from vagent.metadata.guest.quota import GuestQuotas
from vagent.metadata.upstream.endpoint import EndpointSnapshot

MAX_GUEST_ROWS = 32
"""Guests shown: those who were refused most. The rest is in the counters."""


@dataclass(frozen=True, slots=True)
class GuestSnapshot:
    """One guest. `limited`: requests and connections refused for their number.

    `missed`: requests that required session tokens would have refused.
    """

    identity: str
    connections: int
    in_flight: int
    limited: int
    missed: int


@dataclass(frozen=True, slots=True)
class ProxySnapshot:
    """The proxy. `limits` says what one guest may have."""

    port: int
    guests: int
    connections: int
    in_flight: int
    waiting: int
    kept: int
    kept_bytes: int
    hits: int
    joined: int
    limits: str
    session_tokens: str
    endpoints: tuple[EndpointSnapshot, ...]
    conspicuous: tuple[GuestSnapshot, ...]

    def rows(self) -> Iterable[tuple[str, str]]:
        """Name and value, in the order of a page."""
        yield "guests connected", str(self.guests)
        yield "connections", str(self.connections)
        yield "requests in flight", str(self.in_flight)
        yield "requests held", str(self.waiting)
        yield "limits of one guest", self.limits
        yield "session tokens", self.session_tokens
        yield "replies kept", f"{self.kept} ({self.kept_bytes} bytes)"
        yield "requests answered from kept replies", str(self.hits)
        yield "requests that joined another", str(self.joined)
        for endpoint in self.endpoints:
            yield f"endpoint {endpoint.address}", endpoint.text()
        for guest in self.conspicuous:
            yield (
                f"guest {guest.identity}",
                f"{guest.connections} connections, {guest.in_flight} in flight,"
                f" {guest.limited} refused over its limits,"
                f" {guest.missed} would need a session token",
            )


def guest_snapshots(accounts: GuestQuotas) -> list[GuestSnapshot]:
    """All guests whose use is remembered."""
    return [
        GuestSnapshot(
            peer, len(one.connections), one.in_flight, one.limited, one.missed
        )
        for peer, one in accounts.all()
    ]


def limits_of_one(config: MetadataProxyConfig) -> str:
    """What one guest may have, in a line."""
    rate = f"{config.guest_request_rate:g}/s" if config.guest_request_rate else "any"
    return (
        f"{config.max_guest_connections} connections, "
        f"{config.max_guest_requests} requests in flight, "
        f"{rate} requests, {config.guest_request_burst} at once"
    )


def conspicuous(guests: Iterable[GuestSnapshot]) -> tuple[GuestSnapshot, ...]:
    """Guests that were refused something, or would have been; the worst first."""
    told = [guest for guest in guests if guest.limited or guest.missed]
    told.sort(key=lambda guest: -(guest.limited + guest.missed))
    return tuple(told[:MAX_GUEST_ROWS])
