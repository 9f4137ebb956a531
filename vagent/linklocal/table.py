"""The services in force: an immutable table, in Contrail's order of (address, port).

`ServiceTable.of` decides which entries of the list are in force. Each one that is not
is reported by an event and stands in `left_out`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from vagent.errors import WireError
from vagent.linklocal.codec import decode_entry
from vagent.linklocal.events import FabricAddressLeftOut, ServiceLeftOut
from vagent.linklocal.own_servers import OwnServers
from vagent.linklocal.service import LinkLocalService
from vagent.observe.event import Emit

MAX_SERVICES = 1024
"""Services of one host. Each is an ARP reply and elements of maps, which one
transaction replaces; and the list in the store, of at most 1 MiB, has 1 KiB for each.
Known sites have fewer than 50."""

INVALID, DUPLICATE, EXCESS, OWN = "invalid", "duplicate", "excess", "own-server"
REASONS = (INVALID, DUPLICATE, EXCESS, OWN)
"""Why an entry is not in force: it is invalid; another has its address and port; there
are more than MAX_SERVICES; it leads to a server of the agent's own."""

UNRESOLVED, NOT_SERVED = "unresolved", "not-served"
"""Why a service of the table is not in force: its name has no address that can be used;
the data path does not lead guests to it."""

Key = tuple[IPv4Address | IPv6Address, int]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry that is not in force, and why. `position` counts from 1."""

    position: int
    name: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class NotInForce:
    """A service that guests cannot use although it is provisioned, and why."""

    name: str
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}: {self.detail}"


@dataclass(frozen=True, slots=True)
class ServiceTable:
    """Services by (address, port), IPv4 first. A service is for both TCP and UDP."""

    services: tuple[LinkLocalService, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    _by_key: dict[Key, LinkLocalService] = field(
        init=False, repr=False, compare=False, hash=False
    )

    def __post_init__(self) -> None:
        by_key = {(service.address, service.port): service for service in self.services}
        object.__setattr__(self, "_by_key", by_key)

    @classmethod
    def of(
        cls,
        raw_entries: Iterable[object],
        emit: Emit,
        own: OwnServers | None = None,
    ) -> ServiceTable:
        """The table of these entries. Those that are invalid, or lead to a server of
        the agent's own, are left out; of several with one address and port the first
        counts.
        """
        taken: dict[Key, LinkLocalService] = {}
        left_out: list[LeftOut] = []
        for position, raw in enumerate(raw_entries, start=1):
            result = _admit(position, raw, taken, emit, own)
            if isinstance(result, LeftOut):
                left_out.append(result)
                emit(
                    ServiceLeftOut(position, result.name, result.reason, result.detail)
                )
            else:
                taken[result.address, result.port] = result
        return cls(tuple(sorted(taken.values(), key=_order)), tuple(left_out))

    def at(
        self, address: IPv4Address | IPv6Address, port: int
    ) -> LinkLocalService | None:
        """The service at this address and port, or None."""
        return self._by_key.get((address, port))

    def metadata(self) -> LinkLocalService | None:
        """The first service named `metadata` in table order; it says where Nova is."""
        return next((service for service in self.services if service.is_metadata), None)

    def __iter__(self) -> Iterator[LinkLocalService]:
        return iter(self.services)

    def __len__(self) -> int:
        return len(self.services)


EMPTY = ServiceTable()


def _admit(
    position: int,
    raw: object,
    taken: dict[Key, LinkLocalService],
    emit: Emit,
    own: OwnServers | None,
) -> LinkLocalService | LeftOut:
    name = shown_name(raw)

    def skipped(why: str) -> None:
        emit(FabricAddressLeftOut(position, name, why))

    if len(taken) >= MAX_SERVICES:
        return LeftOut(position, name, EXCESS, f"more than {MAX_SERVICES} services")
    try:
        service = decode_entry(raw, skipped)
    except WireError as error:
        return LeftOut(position, name, INVALID, str(error))
    why_not = own.why_not(service) if own else ""
    if why_not:
        return LeftOut(position, name, OWN, why_not)
    first = taken.get((service.address, service.port))
    if first is not None:
        where = f"{service.address} port {service.port}"
        return LeftOut(position, name, DUPLICATE, f"{where} belongs to {first.name}")
    return service


def shown_name(raw: object) -> str:
    """The name of an entry as messages show it."""
    name = raw.get("linklocal_service_name") if isinstance(raw, dict) else None
    return ascii(name)[1:-1][:64] if isinstance(name, str) and name else "unnamed"


def _order(service: LinkLocalService) -> tuple[int, int, int]:
    return service.address.version, int(service.address), service.port
