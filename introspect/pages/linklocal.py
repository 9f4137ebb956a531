"""The link-local services, as Contrail's LinkLocalServiceInfo shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from introspect.page import Page, blocks_of
from introspect.schema import attribute
from introspect.sources import Sources
from vagent.linklocal.service import LinkLocalService


@dataclass(frozen=True, slots=True)
class LinkLocalServiceData:
    """One service."""

    linklocal_service_name: str = attribute("string", 1, title="Service")
    linklocal_service_ip: str = attribute("string", 2, title="Guests ask")
    linklocal_service_port: int = attribute("i32", 3, title="Port")
    ipfabric_dns_name: str = attribute("string", 4, title="Fabric name")
    ipfabric_ip: tuple[str, ...] = attribute(
        "list", 5, item="string", title="Fabric addresses"
    )
    ipfabric_port: int = attribute("i32", 6, title="Fabric port")


@dataclass(frozen=True, slots=True)
class LinkLocalServiceResponse:
    """All services by (address, port)."""

    service_list: tuple[LinkLocalServiceData, ...] = attribute(
        "list",
        1,
        item="struct",
        title="Services",
        note="provision_linklocal.py adds and deletes them; EndpointListReq says how"
        " their fabric endpoints are, NotInForceListReq what guests cannot use.",
    )


def service_info(sources: Sources, _arguments: Mapping[str, str]) -> Page:
    """Every service with its configured fabric addresses."""
    services = sorted(sources.services(), key=_place)
    response = LinkLocalServiceResponse(tuple(_shown(each) for each in services))
    return Page(
        "Link-local services",
        "Addresses that every guest may ask, and where the answers come from.",
        (response,),
        blocks_of(response),
    )


@dataclass(frozen=True, slots=True)
class EndpointData:
    """One fabric endpoint of one service.

    `tcp` and `udp` are up, suspect (one guest got no reply there) or down.
    """

    service: str = attribute("string", 1, title="Service")
    service_address: str = attribute("string", 2, title="Guests ask")
    service_port: int = attribute("i32", 3, title="Port")
    address: str = attribute("string", 4, title="Fabric endpoint")
    port: int = attribute("i32", 5, title="Fabric port")
    tcp: str = attribute("string", 6, title="TCP")
    udp: str = attribute("string", 7, title="UDP")


@dataclass(frozen=True, slots=True)
class EndpointListResp:
    """All of them, by service. Ours: Contrail does not know how they are."""

    endpoint_list: tuple[EndpointData, ...] = attribute(
        "list",
        1,
        item="struct",
        title="Fabric endpoints",
        note="Suspect: one guest got no reply and goes elsewhere, the others do not."
        " Down: two guests, or the agent's checks, got none; flows go elsewhere while"
        " there is another. The metadata service has none: see MetadataInfo.",
    )


def endpoint_list(sources: Sources, _arguments: Mapping[str, str]) -> Page:
    """Where flows to each service may go, and whether anybody answers there."""
    response = EndpointListResp(
        tuple(
            EndpointData(
                service.name,
                str(service.address),
                service.port,
                str(state.endpoint.address),
                state.endpoint.port,
                state.tcp.value,
                state.udp.value,
            )
            for service in sorted(sources.services(), key=_place)
            for state in sources.endpoints_of(service)
        )
    )
    return Page(
        "Fabric endpoints",
        "Where the services really are, and whether anybody answers there.",
        (response,),
        blocks_of(response),
    )


@dataclass(frozen=True, slots=True)
class NotInForceData:
    """One service that guests cannot use. `reason` is one of a closed set."""

    service: str = attribute("string", 1, title="Service")
    reason: str = attribute("string", 2, title="Reason")
    detail: str = attribute("string", 3, title="Why")


@dataclass(frozen=True, slots=True)
class NotInForceListResp:
    """All of them. Ours: Contrail ignores such entries in silence."""

    service_list: tuple[NotInForceData, ...] = attribute(
        "list",
        1,
        item="struct",
        title="Services that are not in force",
        note="They are provisioned, but guests cannot use them.",
    )


def not_in_force(sources: Sources, _arguments: Mapping[str, str]) -> Page:
    """Provisioned services that guests cannot use, and why."""
    response = NotInForceListResp(
        tuple(
            NotInForceData(each.name, each.reason, each.detail)
            for each in sources.not_in_force()
        )
    )
    return Page(
        "Services not in force",
        "Services that are provisioned, but that guests cannot use, and why.",
        (response,),
        blocks_of(response),
    )


def _place(service: LinkLocalService) -> tuple[int, int, int]:
    return service.address.version, int(service.address), service.port


def _shown(service: LinkLocalService) -> LinkLocalServiceData:
    return LinkLocalServiceData(
        service.name,
        str(service.address),
        service.port,
        service.fabric_dns_name,
        tuple(str(address) for address in service.fabric_addresses),
        service.fabric_port,
    )
