"""Provisioned services become guarded addresses, endpoints and offers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from vagent.datapath.names import METADATA_ADDRESS, Names
from vagent.datapath.state import FIRST_FABRIC, LISTENER, Endpoint, Offer, Services
from vagent.linklocal.service import LinkLocalService

METADATA_KEY = (int(METADATA_ADDRESS), 80)


def test_the_metadata_address_is_guarded_without_any_service(names: Names) -> None:
    """Nobody else may answer for it even before it is provisioned."""
    services = Services.of((), names, None)
    assert frozenset({METADATA_ADDRESS}) == services.addresses
    assert {} == services.offers
    assert frozenset() == services.offered()


def test_metadata_leads_to_the_listener(
    names: Names, metadata: LinkLocalService
) -> None:
    """Wherever nova-api is, the flow's endpoint is the local listener."""
    services = Services.of([metadata], names, None)
    assert Offer("metadata", (LISTENER,)) == services.offers[METADATA_KEY]
    listener = Endpoint(LISTENER, names.listener_address, 8097)
    assert frozenset({listener}) == services.endpoints


def test_each_fabric_address_is_an_endpoint(
    names: Names, dns: LinkLocalService
) -> None:
    """A service offers all of its endpoints."""
    services = Services.of([dns], names, None)
    offer = services.offers[int(dns.address), 53]
    assert (FIRST_FABRIC, FIRST_FABRIC + 1) == offer.endpoints
    assert dns.address in services.addresses


def test_an_endpoint_of_two_services_is_one(
    names: Names, dns: LinkLocalService
) -> None:
    """Same address and port, same number."""
    other = replace(dns, name="resolver", port=5353)
    services = Services.of([dns, other], names, None)
    first, second = services.offers.values()
    assert first.endpoints == second.endpoints


def test_numbers_stay_while_services_come_and_go(
    names: Names, dns: LinkLocalService
) -> None:
    """A change of one service does not renumber another's endpoints: flows in
    conntrack carry these numbers.
    """
    ntp = replace(
        dns,
        name="ntp",
        port=123,
        fabric_port=123,
        fabric_addresses=(IPv4Address("192.0.2.123"),),
    )
    before = Services.of([dns, ntp], names, None)
    without_dns = Services.of([ntp], names, before)
    assert (
        before.offers[int(ntp.address), 123]
        == without_dns.offers[int(ntp.address), 123]
    )
    again = Services.of([dns, ntp], names, without_dns)
    numbers = [endpoint.number for endpoint in again.endpoints]
    assert len(set(numbers)) == len(numbers)


def test_ipv6_services_are_left_out(names: Names, metadata: LinkLocalService) -> None:
    """They are not carried yet, and do no harm."""
    six = replace(metadata, address=IPv6Address("fe80::a9fe:a9fe"))
    assert {} == Services.of([six], names, None).offers
