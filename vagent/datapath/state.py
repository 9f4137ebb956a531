"""What the kernel should carry: attachments, services, endpoints. Values only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from vagent.datapath.names import METADATA_ADDRESS, Names
from vagent.linklocal.service import LinkLocalService

INDEX_BITS = 16
"""A flow's mark is `endpoint << 16 | index`: where it goes, and whose it is. Conntrack
keeps it, so the kernel itself can list or end the flows of one port or one service."""
INDEX_MASK = (1 << INDEX_BITS) - 1
ENDPOINT_MASK = 0xFFFFFFFF ^ INDEX_MASK

LISTENER = 1
"""Endpoint number of the local metadata listener."""
FIRST_FABRIC = 2
REFUSE = 0xFFFF
"""Endpoint number of flows that are answered with a reset at once."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One guest address at one tap that exists now."""

    index: int
    identity: IPv4Address
    tap: str
    ifindex: int
    mac: str
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where flows with this number in the upper half of their mark go."""

    number: int
    address: IPv4Address
    port: int


@dataclass(frozen=True, slots=True)
class Offer:
    """What one (address, port) of a service means for an opening packet.

    Any of the endpoints (by number) may be chosen.
    """

    service: str
    endpoints: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Services:
    """The services of the data path: guarded addresses, endpoints, and offers by
    (address as integer, port).
    """

    addresses: frozenset[IPv4Address]
    endpoints: frozenset[Endpoint]
    offers: dict[tuple[int, int], Offer]

    def offered(self) -> frozenset[int]:
        """Numbers of the endpoints to which some service leads."""
        return frozenset(
            number for offer in self.offers.values() for number in offer.endpoints
        )

    @classmethod
    def of(
        cls, table: Iterable[LinkLocalService], names: Names, before: Services | None
    ) -> Services:
        """Derive from the provisioned table, keeping the numbers of endpoints that were
        there before. IPv6 services are not carried yet.
        """
        numbers = _Numbers(names, before)
        addresses = {METADATA_ADDRESS}
        offers: dict[tuple[int, int], Offer] = {}
        for service in table:
            if not isinstance(service.address, IPv4Address):
                continue
            addresses.add(service.address)
            offers[int(service.address), service.port] = Offer(
                service.name,
                (LISTENER,)
                if service.is_metadata
                else tuple(
                    numbers.of(fabric, service.fabric_port)
                    for fabric in service.fabric_addresses
                    if isinstance(fabric, IPv4Address)
                ),
            )
        return cls(frozenset(addresses), numbers.endpoints(), offers)


class _Numbers:
    """Gives each endpoint a number, the same as before where there was one."""

    def __init__(self, names: Names, before: Services | None) -> None:
        listener = (names.listener_address, names.listener_port)
        self._known = {
            (endpoint.address, endpoint.port): endpoint.number
            for endpoint in (before.endpoints if before else ())
        }
        self._used = {listener: LISTENER}
        taken = set(self._known.values())
        self._free = (
            number for number in range(FIRST_FABRIC, REFUSE) if number not in taken
        )

    def of(self, address: IPv4Address, port: int) -> int:
        key = (address, port)
        if key not in self._used:
            self._used[key] = self._known.get(key) or next(self._free)
        return self._used[key]

    def endpoints(self) -> frozenset[Endpoint]:
        return frozenset(Endpoint(number, *key) for key, number in self._used.items())
