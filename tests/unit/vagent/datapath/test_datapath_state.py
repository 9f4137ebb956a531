"""Provisioned services become guarded addresses, endpoints and offers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from vagent.config.metadata_address import METADATA_ADDRESS, METADATA_ADDRESSES6
from vagent.datapath.names import Names
from vagent.datapath.state import (
    FIRST_FABRIC,
    LISTENER,
    Attachment,
    NatEndpoint,
    Offer,
    Services,
)
from vagent.linklocal.service import LinkLocalService

METADATA_KEY = (int(METADATA_ADDRESS), 80)


def test_the_metadata_address_is_guarded_without_any_service(names: Names) -> None:
    """Nobody else may answer for it even before it is provisioned."""
    services = Services.of((), names, None)
    assert {METADATA_ADDRESS, *METADATA_ADDRESSES6} == services.addresses
    assert frozenset({METADATA_ADDRESS}) == services.without_ipv6().addresses
    assert {} == services.offers
    assert frozenset() == services.offered


def test_metadata_leads_to_the_listener(
    names: Names, metadata: LinkLocalService
) -> None:
    """Wherever nova-api is, the flow's endpoint is the local listener."""
    services = Services.of([metadata], names, None)
    assert Offer("metadata", (LISTENER,)) == services.offers[METADATA_KEY]
    listener = NatEndpoint(LISTENER, names.listener_address, 8097)
    listener6 = NatEndpoint(LISTENER, names.listener_address6, 8097)
    assert {listener, listener6} == services.endpoints
    assert {listener} == services.without_ipv6().endpoints


def test_each_fabric_address_is_an_endpoint(
    names: Names, dns: LinkLocalService
) -> None:
    """A service offers all of its endpoints."""
    services = Services.of([dns], names, None)
    offer = services.offers[int(dns.address), 53]
    assert (FIRST_FABRIC, FIRST_FABRIC + 1) == offer.endpoints
    assert dns.address in services.addresses


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("127.0.0.1", ("169.254.0.0", 0xFFFF - 9)),
        ("127.255.0.53", ("169.254.0.0", 0xFFFF - 9)),
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("2001:db8::1", ("2001:db8::1", 53)),
    ],
)
def test_an_endpoint_on_this_host_is_reached_by_the_uplink(
    names: Names, address: str, inside: tuple[str, int]
) -> None:
    """At the port of its number, counted from above: its own may be redirected by
    rules of others. Every other one is reached as it is.
    """
    endpoint = NatEndpoint(9, ip_address(address), 53)
    there, port = endpoint.seen_inside(names.uplink_address)
    assert inside == (str(there), port)
    assert endpoint.is_near == (inside[0] == "169.254.0.0")


def test_an_endpoint_of_two_services_is_one(
    names: Names, dns: LinkLocalService
) -> None:
    """Same address and port, same number."""
    other = replace(dns, name="resolver", port=5353)
    services = Services.of([dns, other], names, None)
    first, second = services.offers.values()
    assert first.endpoints == second.endpoints


def test_endpoints_are_found_by_their_numbers(
    names: Names, dns: LinkLocalService
) -> None:
    """Those that have one of the numbers, and no others."""
    services = Services.of([dns], names, None)
    (found,) = services.without_ipv6().numbered({FIRST_FABRIC + 1})
    assert FIRST_FABRIC + 1 == found.number
    assert frozenset() == services.numbered({LISTENER + 0xFFFF})


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
    numbers = [endpoint.number for endpoint in again.without_ipv6().endpoints]
    assert len(set(numbers)) == len(numbers)


def test_metadata_is_offered_at_the_ipv6_addresses_too(
    names: Names, metadata: LinkLocalService
) -> None:
    """Provisioned once, for both families; on its own port for IPv4, on 80 for IPv6."""
    offers = Services.of([replace(metadata, port=8080)], names, None).offers
    expected = Offer("metadata", (LISTENER,))
    for address in METADATA_ADDRESSES6:
        assert expected == offers[int(address), 80]
    assert (int(METADATA_ADDRESS), 80) not in offers


def test_an_ipv6_entry_named_metadata6_is_the_metadata_service(
    names: Names, metadata: LinkLocalService
) -> None:
    """Contrail's name; it implies nothing for other addresses."""
    entry = replace(metadata, name="metadata6", address=METADATA_ADDRESSES6[0])
    assert {(int(METADATA_ADDRESSES6[0]), 80): Offer("metadata6", (LISTENER,))} == (
        Services.of([entry], names, None).offers
    )


def test_another_services_entry_is_not_replaced(
    names: Names, metadata: LinkLocalService
) -> None:
    """What is provisioned at an IPv6 address counts more than what metadata implies."""
    other = replace(
        metadata,
        name="own",
        address=METADATA_ADDRESSES6[1],
        fabric_addresses=(IPv6Address("2001:db8::1"),),
    )
    offers = Services.of([metadata, other], names, None).offers
    assert "own" == offers[int(METADATA_ADDRESSES6[1]), 80].service


@pytest.mark.parametrize("fabric", ["192.0.2.1", "::1"])
def test_fabric_addresses_that_ipv6_cannot_reach_are_no_endpoints(
    names: Names, metadata: LinkLocalService, fabric: str
) -> None:
    """Of the other family, or the loopback address: refused, not left to hang."""
    six = replace(
        metadata,
        name="dns6",
        address=IPv6Address("fd00::53"),
        fabric_addresses=(ip_address(fabric),),
    )
    offers = Services.of([six], names, None).offers
    assert Offer("dns6", ()) == offers[int(six.address), 80]


def test_endpoints_beyond_the_last_number_are_left_out(
    names: Names, dns: LinkLocalService
) -> None:
    """A mark has room for 65,533 of them; the service keeps those that it has."""
    wide = [
        replace(
            dns,
            port=port,
            fabric_port=port,
            fabric_addresses=tuple(IPv4Address(0xC0000000 + i) for i in range(64)),
        )
        for port in range(1, 1026)
    ]
    services = Services.of(wide, names, None)
    assert 64 == len(services.offers[int(dns.address), 1].endpoints)
    assert () == services.offers[int(dns.address), 1025].endpoints


def test_fabric_endpoints_are_those_that_services_lead_to(
    names: Names, dns: LinkLocalService, metadata: LinkLocalService
) -> None:
    """Not the listener, and none that only stood in an earlier table."""
    before = Services.of([dns], names, None)
    assert {FIRST_FABRIC, FIRST_FABRIC + 1} == {e.number for e in before.fabric}
    fewer = replace(dns, fabric_addresses=dns.fabric_addresses[1:])
    services = Services.of([fewer, metadata], names, before)
    assert [FIRST_FABRIC + 1] == [each.number for each in services.fabric]
    nobody = Services(services.addresses, services.endpoints, {})
    assert () == nobody.fabric


def test_flows_go_on_where_only_this_changes(alice: Attachment) -> None:
    """The sum that new flows count for, the tap's MTU, whether the port learns; not
    who the guest is.
    """
    for change in ({"port": 7}, {"mtu": 9000}, {"learns": True}):
        assert alice.serves_as(replace(alice, **change))
    assert not alice.serves_as(replace(alice, mac="02:00:00:00:00:09"))
    assert not alice.serves_as(None)
