"""Promises of introspect.pages.linklocal."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from introspect.pages.linklocal import (
    EndpointData,
    NotInForceData,
    endpoint_list,
    not_in_force,
    service_info,
)
from introspect.sandesh import STYLESHEET, document
from vagent.datapath.endpoints.health import EndpointState, HealthState
from vagent.datapath.state import NatEndpoint
from vagent.linklocal.table import NotInForce


def test_services_are_contrails(world: Any) -> None:
    """The XML is Contrail's, byte for byte."""
    world.service("metadata", "169.254.169.254", 80)
    expected = (
        '<LinkLocalServiceResponse type="sandesh">'
        '<service_list type="list" identifier="1"><list type="struct" size="1">'
        "<LinkLocalServiceData>"
        '<linklocal_service_name type="string" identifier="1">metadata'
        "</linklocal_service_name>"
        '<linklocal_service_ip type="string" identifier="2">169.254.169.254'
        "</linklocal_service_ip>"
        '<linklocal_service_port type="i32" identifier="3">80'
        "</linklocal_service_port>"
        '<ipfabric_dns_name type="string" identifier="4"></ipfabric_dns_name>'
        '<ipfabric_ip type="list" identifier="5"><list type="string" size="1">'
        "<element>10.0.0.5</element></list></ipfabric_ip>"
        '<ipfabric_port type="i32" identifier="6">8775</ipfabric_port>'
        "</LinkLocalServiceData></list></service_list>"
        '<more type="bool" identifier="0">false</more></LinkLocalServiceResponse>'
    )
    page = service_info(world.sources(), {})
    assert document(page.parts) == (STYLESHEET + expected).encode()


def test_services_are_ordered_by_address_and_port(world: Any) -> None:
    """Addresses order as numbers, IPv4 first, then ports."""
    world.service("d", "fe80::a9fe:a9fe", 80)
    world.service("c", "169.254.169.254", 80)
    world.service("b", "169.254.20.1", 443)
    world.service("a", "169.254.20.1", 80)
    (response,) = service_info(world.sources(), {}).parts
    names = [each.linklocal_service_name for each in response.service_list]
    assert names == ["a", "b", "c", "d"]


def test_names_and_no_addresses(world: Any) -> None:
    """A service with a name and no addresses shows the name and an empty list."""
    more = {"fabric_addresses": (), "fabric_dns_name": "ntp.example.net"}
    world.service("ntp", "169.254.20.1", 123, **more)
    written = document(service_info(world.sources(), {}).parts).decode()
    assert ">ntp.example.net</ipfabric_dns_name>" in written
    assert '"5"><list type="string" size="0"></list></ipfabric_ip>' in written


def test_no_service_is_an_empty_list(world: Any) -> None:
    """Without services the list is there, with size 0."""
    written = document(service_info(world.sources(), {}).parts).decode()
    assert '<list type="struct" size="0"></list></service_list>' in written


def test_several_fabric_addresses(world: Any) -> None:
    """All configured addresses are shown, in order."""
    several = (IPv4Address("10.0.0.5"), IPv4Address("10.0.0.4"))
    world.service("x", "169.254.20.1", 1, fabric_addresses=several)
    written = document(service_info(world.sources(), {}).parts).decode()
    elements = "<element>10.0.0.5</element><element>10.0.0.4</element>"
    assert f'<list type="string" size="2">{elements}</list>' in written


def test_endpoints_say_how_they_are(world: Any) -> None:
    """By service; the page of services stays Contrail's."""
    world.service("ntp", "169.254.20.1", 123)
    world.service("metadata", "169.254.169.254", 80)
    endpoint = NatEndpoint(2, IPv4Address("10.0.0.5"), 123)
    state = EndpointState(endpoint, HealthState.UP, HealthState.DOWN)
    sources = replace(
        world.sources(),
        endpoints_of=lambda service: [state] if service.name == "ntp" else [],
    )
    (response,) = endpoint_list(sources, {}).parts
    expected = EndpointData("ntp", "169.254.20.1", 123, "10.0.0.5", 123, "up", "down")
    assert (expected,) == response.endpoint_list


def test_without_a_data_path_there_are_no_endpoints(world: Any) -> None:
    """The list is there, and empty."""
    world.service("ntp", "169.254.20.1", 123)
    (response,) = endpoint_list(world.sources(), {}).parts
    assert () == response.endpoint_list


def test_what_is_not_in_force_has_its_reason(world: Any) -> None:
    """Provisioned, but no guest can use it."""
    found = NotInForce("ntp", "duplicate", "169.254.1.1 port 123 belongs to time")
    sources = replace(world.sources(), not_in_force=lambda: (found,))
    page = not_in_force(sources, {})
    (response,) = page.parts
    expected = NotInForceData(
        "ntp", "duplicate", "169.254.1.1 port 123 belongs to time"
    )
    assert (expected,) == response.service_list
    assert b"belongs to time" in document(page.parts)
