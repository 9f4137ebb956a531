"""What the kernel should carry: attachments, services, endpoints. Values only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from vagent.config.metadata_address import METADATA_ADDRESS, METADATA_ADDRESSES6
from vagent.datapath.names import (
    METADATA_PORT6,
    Names,
)
from vagent.linklocal.service import METADATA, LinkLocalService
from vagent.ports.identity import AGENT_INDEX, identity6_of

Address = IPv4Address | IPv6Address

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
class Tag:
    """The VLAN of a guest behind a tap: ids of the frames that it sends and gets, and
    the ifindex of the interface through which a reply gets its tag.
    """

    sent: int
    got: int
    ifindex: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """One port at one tap that exists now, by its addresses.

    `takes_link_local`: any link-local IPv6 source at this tap with this MAC is this
    port's. `identity6` is used only where there is IPv6. Without a `tag` the guest's
    frames have none, or one that names no VLAN. `port` is the first index of a port
    that has several: what it may open in a second is one sum.
    """

    index: int
    identity: IPv4Address
    tap: str
    ifindex: int
    mac: str
    address: IPv4Address | None
    address6: IPv6Address | None = None
    takes_link_local: bool = False
    tag: Tag | None = None
    port: int | None = None

    def serves_as(self, other: Attachment | None) -> bool:
        """Is it the same address at the same place, so that its flows go on?"""
        return other is not None and replace(self, port=other.port) == other

    @property
    def identity6(self) -> IPv6Address:
        """Stands for `address6` above the tap."""
        return identity6_of(self.index, int(self.identity) - self.index)


@dataclass(frozen=True, slots=True)
class NatEndpoint:
    """Where flows with this number in the upper half of their mark go."""

    number: int
    address: Address
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

    addresses: frozenset[Address]
    endpoints: frozenset[NatEndpoint]
    offers: dict[tuple[int, int], Offer]

    def without_ipv6(self) -> Services:
        """What of them a host without IPv6 carries."""
        return Services(
            frozenset(each for each in self.addresses if each.version == 4),
            frozenset(each for each in self.endpoints if each.address.version == 4),
            self.offers,
        )

    def offered(self) -> frozenset[int]:
        """Numbers of the endpoints to which some service leads."""
        return frozenset(
            number for offer in self.offers.values() for number in offer.endpoints
        )

    def fabric(self) -> tuple[NatEndpoint, ...]:
        """The endpoints that some service leads to, without the local listener."""
        offered = self.offered()
        return tuple(
            each
            for each in self.endpoints
            if each.number in offered and each.number != LISTENER
        )

    @classmethod
    def of(
        cls, table: Iterable[LinkLocalService], names: Names, before: Services | None
    ) -> Services:
        """Derive from the provisioned table, keeping the numbers of endpoints that were
        there before. A service named `metadata` is one at the IPv6 addresses too.

        A fabric endpoint is of the family of the service's address: nothing is
        translated from one to the other.
        """
        services = tuple(table)
        numbers = _Numbers(names, before)
        addresses: set[Address] = {METADATA_ADDRESS, *METADATA_ADDRESSES6}
        offers: dict[tuple[int, int], Offer] = {}
        for service in services:
            addresses.add(service.address)
            offers[int(service.address), service.port] = Offer(
                service.name,
                (LISTENER,)
                if service.is_metadata
                else tuple(
                    number
                    for fabric in service.fabric_addresses
                    if _reaches(service.address, fabric)
                    and (number := numbers.of(fabric, service.fabric_port))
                ),
            )
        if any(service.name == METADATA for service in services):
            for address in METADATA_ADDRESSES6:
                offers.setdefault(
                    (int(address), METADATA_PORT6), Offer(METADATA, (LISTENER,))
                )
        return cls(frozenset(addresses), numbers.endpoints(), offers)


def _reaches(service: Address, fabric: Address) -> bool:
    """::1 cannot be translated to: the kernel drops it from any other interface."""
    return service.version == fabric.version and (
        fabric.version == 4 or not fabric.is_loopback
    )


class _Numbers:
    """Gives each endpoint a number, the same as before where there was one."""

    def __init__(self, names: Names, before: Services | None) -> None:
        port = names.listener_port
        self._known = {
            (endpoint.address, endpoint.port): endpoint.number
            for endpoint in (before.endpoints if before else ())
        }
        self._used: dict[tuple[Address, int], int] = {
            (names.listener_address, port): LISTENER,
            (names.listener_address6, port): LISTENER,
        }
        taken = set(self._known.values())
        self._free = (
            number for number in range(FIRST_FABRIC, REFUSE) if number not in taken
        )

    def of(self, address: Address, port: int) -> int:
        """The number of an endpoint; 0 when all are given away."""
        key = (address, port)
        number = self._used.get(key) or self._known.get(key) or next(self._free, 0)
        if number:
            self._used[key] = number
        return number

    def endpoints(self) -> frozenset[NatEndpoint]:
        return frozenset(
            NatEndpoint(number, *key) for key, number in self._used.items()
        )


REJECT_MARK = REFUSE << INDEX_BITS | AGENT_INDEX
"""Mark of such a datagram on its way to the agent."""


TCP_AGES = {
    "syn_sent": 10,
    "syn_recv": 10,
    "established": 7_440,
    "fin_wait": 30,
    "last_ack": 30,
    "time_wait": 10,
    "close": 10,
}


UDP_AGES = {"unreplied": 10, "replied": 120}
"""Seconds without a packet after which the kernel forgets a flow of a guest. Of the
host's own flows nothing is changed. Idle flows have the time that RFC 5382 and RFC 4787
demand of a NAT (its default for TCP is five days); half-open ones and those that have
ended must not fill the host's table, as they do not count for a guest's ceiling."""
