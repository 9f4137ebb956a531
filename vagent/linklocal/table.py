"""The services in force: an immutable table by (address, port), Contrail's order.

`ServiceTable.of` decides which entries count; what is left out is an event and a line
in `left_out`, never a silent loss. Refuses to know where entries come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from vagent.errors import WireError
from vagent.linklocal.codec import decode_entry
from vagent.linklocal.events import FabricAddressLeftOut, ServiceLeftOut
from vagent.linklocal.service import LinkLocalService
from vagent.observe.event import Emit

MAX_SERVICES = 1024
"""Each service is a route, an ARP answer and map elements at every tap, replaced in
one transaction; a store value of 1 MiB leaves 1 KiB for each. Known sites have < 50."""

INVALID, DUPLICATE, EXCESS = "invalid", "duplicate", "excess"
REASONS = (INVALID, DUPLICATE, EXCESS)
"""Why an entry is left out: no meaning; its (address, port) is taken; too many."""

Key = tuple[IPv4Address | IPv6Address, int]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry, by its position in the list from 1, that is not in force, and why."""

    position: int
    name: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ServiceTable:
    """Services ordered by (address, port), IPv4 first; one per (address, port).

    There is no protocol in the key: an entry serves TCP and UDP.
    """

    services: tuple[LinkLocalService, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    _by_key: dict[Key, LinkLocalService] = field(
        init=False, repr=False, compare=False, hash=False
    )

    def __post_init__(self) -> None:
        by_key = {(service.address, service.port): service for service in self.services}
        object.__setattr__(self, "_by_key", by_key)

    @classmethod
    def of(cls, raw_entries: Iterable[object], emit: Emit) -> ServiceTable:
        """Of duplicates the first wins; an entry without meaning is left out."""
        taken: dict[Key, LinkLocalService] = {}
        left_out: list[LeftOut] = []
        for position, raw in enumerate(raw_entries, start=1):
            result = _admit(position, raw, taken, emit)
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
        """The service offered there, or None."""
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
    position: int, raw: object, taken: dict[Key, LinkLocalService], emit: Emit
) -> LinkLocalService | LeftOut:
    name = _shown_name(raw)

    def skipped(why: str) -> None:
        emit(FabricAddressLeftOut(position, name, why))

    if len(taken) >= MAX_SERVICES:
        return LeftOut(position, name, EXCESS, f"more than {MAX_SERVICES} services")
    try:
        service = decode_entry(raw, skipped)
    except WireError as error:
        return LeftOut(position, name, INVALID, str(error))
    first = taken.get((service.address, service.port))
    if first is not None:
        where = f"{service.address} port {service.port}"
        return LeftOut(position, name, DUPLICATE, f"{where} belongs to {first.name}")
    return service


def _shown_name(raw: object) -> str:
    name = raw.get("linklocal_service_name") if isinstance(raw, dict) else None
    return ascii(name)[1:-1][:64] if isinstance(name, str) and name else "unnamed"


def _order(service: LinkLocalService) -> tuple[int, int, int]:
    return service.address.version, int(service.address), service.port
