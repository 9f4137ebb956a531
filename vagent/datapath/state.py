"""What the kernel is to serve, as values: attachments of ports, services, endpoints."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
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
"""A flow's mark is `endpoint << 16 | index`: where the flow goes, and whose it is.
Conntrack keeps it, so the kernel itself can list or end the flows of one index, or of
one endpoint."""
INDEX_MASK = (1 << INDEX_BITS) - 1
ENDPOINT_MASK = 0xFFFFFFFF ^ INDEX_MASK

LISTENER = 1
"""Endpoint number of the local metadata listener."""
FIRST_FABRIC = 2
"""The first endpoint number that is given to a fabric endpoint."""
REFUSE = 0xFFFF
"""Endpoint number of flows that are refused at once."""
REJECT_MARK = REFUSE << INDEX_BITS | AGENT_INDEX
"""Mark of a datagram that the kernel refuses, on its way to the agent, which sends the
ICMP error."""

MAX_PORT = 0xFFFF
USUAL_MTU = 1500
"""Bytes of IP (RFC 894)."""

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
"""Seconds without a packet after which the kernel forgets a flow of a guest; the host's
own flows keep theirs. Idle flows have the time that RFC 5382 and RFC 4787 demand of a
NAT (the kernel's default for TCP is five days). Half-open and ended ones are forgotten
soon: they do not count for a guest's ceiling, and must not fill the host's table."""


@dataclass(frozen=True, slots=True)
class Tag:
    """The VLAN of a guest: the ids of the frames that it sends and of those that it
    gets.
    """

    sent: int
    got: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """One index of a port, with its addresses, at a tap that exists now.

    `takes_link_local` says that any link-local IPv6 source at this tap with this MAC is
    this port's. `identity6` counts only where the host has IPv6. Without a `tag` the
    guest's frames have none, or one of VLAN 0. `mtu` is that of the tap, in bytes of
    IP. `learns`: the port takes the address that its guest uses. `port` is the first
    index of a port that has several: the limit on new flows holds for all of them
    together.
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
    mtu: int = USUAL_MTU
    learns: bool = False
    port: int | None = None

    def serves_as(self, other: Attachment | None) -> bool:
        """Is the other one the same as far as its flows may go on?"""
        return other is not None and other == replace(
            self, port=other.port, mtu=other.mtu, learns=other.learns
        )

    @property
    def identity6(self) -> IPv6Address:
        """The identity address that stands for `address6` above the tap."""
        return identity6_of(self.index, int(self.identity) - self.index)


@dataclass(frozen=True, slots=True)
class NatEndpoint:
    """The destination to which NAT sends flows with this number in the upper half of
    their mark.
    """

    number: int
    address: Address
    port: int

    @property
    def is_near(self) -> bool:
        """Is it a process of this host, on an address that only the host itself can
        reach?
        """
        return self.address.is_loopback

    @property
    def near_port(self) -> int:
        """The port of the uplink's address that leads to it, if it is near: from above,
        where no rule of others that redirects well-known ports finds it.
        """
        return MAX_PORT - self.number

    def seen_inside(self, uplink: IPv4Address) -> tuple[Address, int]:
        """The address and port to which the namespace of guests' flows sends them."""
        return (uplink, self.near_port) if self.is_near else (self.address, self.port)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a guest gets at one address and port: the service, and the numbers of its
    endpoints. A flow goes to any of them.
    """

    service: str
    endpoints: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Services:
    """The provisioned services: the addresses that are guarded at taps, the endpoints,
    and the offers by (address as integer, port).
    """

    addresses: frozenset[Address]
    endpoints: frozenset[NatEndpoint]
    offers: dict[tuple[int, int], Offer]
    offered: frozenset[int] = field(init=False, compare=False)
    """The numbers of all endpoints to which a service leads."""
    fabric: tuple[NatEndpoint, ...] = field(init=False, compare=False)
    """The endpoints with these numbers, without the local listener."""

    def __post_init__(self) -> None:
        offered = frozenset(
            number for offer in self.offers.values() for number in offer.endpoints
        )
        object.__setattr__(self, "offered", offered)
        fabric = tuple(
            each
            for each in self.endpoints
            if each.number in offered and each.number != LISTENER
        )
        object.__setattr__(self, "fabric", fabric)

    def numbered(self, numbers: Collection[int]) -> frozenset[NatEndpoint]:
        """The endpoints with these numbers."""
        return frozenset(each for each in self.endpoints if each.number in numbers)

    def without_ipv6(self) -> Services:
        """The same without IPv6 addresses and endpoints, for a host without IPv6."""
        return Services(
            frozenset(each for each in self.addresses if each.version == 4),
            frozenset(each for each in self.endpoints if each.address.version == 4),
            self.offers,
        )

    @classmethod
    def of(
        cls, table: Iterable[LinkLocalService], names: Names, before: Services | None
    ) -> Services:
        """From the table of services. An endpoint that was there `before` keeps its
        number. A service named `metadata` is offered at METADATA_ADDRESSES6, too.

        Only fabric addresses of the same IP version as the service's address become
        endpoints: NAT does not translate from one version to the other.
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
    """Can NAT send flows from the one address to the other? ::1 is no destination: the
    kernel drops what comes for it by any interface but lo.
    """
    return service.version == fabric.version and (
        fabric.version == 4 or not fabric.is_loopback
    )


class _Numbers:
    """Gives each endpoint a number: the one that it had before, or a free one."""

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
        """The number of an endpoint; 0 where all numbers are taken."""
        key = (address, port)
        number = self._used.get(key) or self._known.get(key) or next(self._free, 0)
        if number:
            self._used[key] = number
        return number

    def endpoints(self) -> frozenset[NatEndpoint]:
        return frozenset(
            NatEndpoint(number, *key) for key, number in self._used.items()
        )
