"""The agent's own servers on this host, to which no service may lead.

A guest that reached one would be an operator: the agent's flows and requests come from
the host itself, as those of root do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

from vagent.linklocal.codec import why_no_server
from vagent.linklocal.service import LinkLocalService

Address = IPv4Address | IPv6Address

LOOPBACK = IPv4Address("127.0.0.1")
LOOPBACK6 = IPv6Address("::1")
_OWN = (
    "of the agent itself, which guests must not reach (allowed: where the service "
    "really is)"
)
LOCALHOST = "localhost"
"""The name that needs no look-up (RFC 6761 §6.3)."""


@dataclass(frozen=True, slots=True)
class OwnServer:
    """One listening socket. `what` is its name in messages: `the config API`. The
    metadata service, and no other, may lead to one that `answers_metadata`.
    """

    what: str
    address: Address
    port: int
    answers_metadata: bool = False


class OwnServers:
    """All of them. `is_local` says whether an address is one of this host's, which
    counts for servers that listen at 0.0.0.0. `identities` are the addresses by which
    the host knows its guests.
    """

    def __init__(
        self,
        servers: Iterable[OwnServer] = (),
        *,
        is_local: Callable[[Address], bool] = lambda address: address.is_loopback,
        identities: Iterable[IPv4Network | IPv6Network] = (),
    ) -> None:
        self._identities = tuple(identities)
        self._servers = tuple(servers)
        self._is_local = is_local

    def __repr__(self) -> str:
        where = (f"{each.address} {each.port}" for each in self._servers)
        return f"<OwnServers {', '.join(where)}>"

    def at(self, address: Address, port: int, *, metadata: bool = False) -> str:
        """What of the agent's own listens there, for a message; "" if nothing does or
        if the metadata service asks for the server that answers it.
        """
        address = _reached(address)
        for server in self._servers:
            if server.port != port or (metadata and server.answers_metadata):
                continue
            if server.address == address or (
                server.address.is_unspecified
                and server.address.version == address.version
                and self._is_local(address)
            ):
                return server.what
        return ""

    def why_not(self, service: LinkLocalService) -> str:
        """Why a service must not be in force, "" if it may be: an address, or a name
        that needs no look-up, leads to one of these servers.
        """
        for address in _addresses(service):
            what = self.at(address, service.fabric_port, metadata=service.is_metadata)
            if what:
                where = f"fabric address {address} port {service.fabric_port}"
                return f"{where} is {what} {_OWN}"
        return ""

    def why_not_at(self, address: Address, port: int, *, metadata: bool = False) -> str:
        """Why an address that a name resolves to is not used, "" if it may be: one of
        these servers is there, no server can be, or it is an identity.
        """
        what = self.at(address, port, metadata=metadata)
        if what:
            return f"is {what} {_OWN}"
        if any(address in network for network in self._identities):
            return "is in the range of the guests' identities"
        return why_no_server(address)

    def why_not_found(self, service: LinkLocalService) -> str:
        """Why not all addresses to which the name of a service resolves are used."""
        for address in service.fabric_addresses:
            why = self._why_not(service, address)
            if why:
                return f"fabric address {address} port {service.fabric_port} {why}"
        return ""

    def without(self, service: LinkLocalService) -> LinkLocalService:
        """The service without the addresses of its name that must not be used."""
        return replace(
            service,
            fabric_addresses=tuple(
                address
                for address in service.fabric_addresses
                if not self._why_not(service, address)
            ),
        )

    def _why_not(self, service: LinkLocalService, address: Address) -> str:
        return self.why_not_at(
            address, service.fabric_port, metadata=service.is_metadata
        )


def _reached(address: Address) -> Address:
    """Where Linux leads a connection to this address: IPv4-mapped is IPv4, and the
    unspecified address is loopback.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_unspecified:
        return LOOPBACK if address.version == 4 else LOOPBACK6
    return address


def _addresses(service: LinkLocalService) -> Iterator[Address]:
    yield from service.fabric_addresses
    name = service.fabric_dns_name.lower().removesuffix(".")
    if service.fabric_addresses or not name:
        return
    if name == LOCALHOST:
        yield LOOPBACK
        return
    try:
        yield ip_address(name)
    except ValueError:
        return
