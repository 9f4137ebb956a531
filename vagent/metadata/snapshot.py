"""The proxy as it is at one moment, as numbers and enums with names. No secrets, no
documents. Pages write it for people, charts draw it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vagent.config.model import MetadataProxyConfig, SessionMode
from vagent.metadata.guest.quota import GuestQuotas
from vagent.metadata.upstream.endpoint import EndpointSnapshot

MAX_GUEST_ROWS = 32
"""Guests shown: those who were refused most. The rest is in the counters."""


@dataclass(frozen=True, slots=True)
class GuestLimits:
    """What one guest may have at a time. `requests_per_second` is 0 for any number;
    `burst` is how many of them may come at once.
    """

    connections: int
    requests_in_flight: int
    requests_per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class GuestSnapshot:
    """One guest, by its port ("" where it is registered no more) and its identity.

    `limited` counts requests and connections that were refused because it had or asked
    too many; `missed` counts requests that required session tokens would have refused.
    """

    port_id: str
    identity: str
    connections: int
    requests_in_flight: int
    limited: int
    missed: int


@dataclass(frozen=True, slots=True)
class ProxySnapshot:
    """The proxy.

    `guests` are those with connections. `requests_in_flight` are on a connection to the
    upstream, `requests_waiting` wait for one. `coalesced` counts requests that shared
    the upstream request of another, `cache_hits` those that were answered from the
    cache. `conspicuous` are the guests that were refused most.
    """

    port: int
    guests: int
    connections: int
    requests_in_flight: int
    requests_waiting: int
    cached_replies: int
    cached_bytes: int
    cache_hits: int
    coalesced: int
    limits: GuestLimits
    session_tokens: SessionMode
    endpoints: tuple[EndpointSnapshot, ...]
    conspicuous: tuple[GuestSnapshot, ...]


def guest_snapshots(
    quotas: GuestQuotas, port_id_of: Callable[[str], str]
) -> list[GuestSnapshot]:
    """All guests whose use is remembered. `port_id_of`: whose an identity is."""
    return [
        GuestSnapshot(
            port_id=port_id_of(identity),
            identity=identity,
            connections=len(quota.connections),
            requests_in_flight=quota.in_flight,
            limited=quota.limited,
            missed=quota.missed,
        )
        for identity, quota in quotas.all()
    ]


def limits_of_one(config: MetadataProxyConfig) -> GuestLimits:
    """The limits in agent.conf that hold for each single guest."""
    return GuestLimits(
        connections=config.max_guest_connections,
        requests_in_flight=config.max_guest_requests,
        requests_per_second=config.guest_request_rate,
        burst=config.guest_request_burst,
    )


def conspicuous(guests: Iterable[GuestSnapshot]) -> tuple[GuestSnapshot, ...]:
    """Guests that were refused something, or would have been; the worst first."""
    told = [guest for guest in guests if guest.limited or guest.missed]
    told.sort(key=lambda guest: -(guest.limited + guest.missed))
    return tuple(told[:MAX_GUEST_ROWS])
