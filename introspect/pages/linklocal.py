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
        note="provision_linklocal.py adds and deletes them.",
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
