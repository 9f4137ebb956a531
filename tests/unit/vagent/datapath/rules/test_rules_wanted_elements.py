"""The elements that must be there, as the kernel's bytes. That the kernel has the same
is shown in `tests/system/test_system_encoders.py`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from vagent.datapath.names import Names
from vagent.datapath.rules.wanted_elements import wanted_elements
from vagent.datapath.state import INDEX_BITS, Attachment, Services
from vagent.kernel.nf_tables import INET, IPV4, IPV6
from vagent.linklocal.service import LinkLocalService


def mark(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


def test_services_have_endpoints(names: Names, dns: LinkLocalService) -> None:
    """An endpoint is its number, in the upper half of a mark, then address and padded
    port.
    """
    six = replace(
        dns,
        name="six",
        address=IPv6Address("fd00::53"),
        fabric_addresses=(IPv6Address("2001:db8::53"),),
    )
    services = Services.of([dns, six], names, None)
    found = wanted_elements(names, services, (), ipv6=True)
    endpoints = {(each.address, each.number): each for each in services.endpoints}
    assert endpoints
    for each in endpoints.values():
        family = IPV4 if each.address.version == 4 else IPV6
        port = each.port.to_bytes(2, "big") + bytes(2)
        content = mark(each.number << INDEX_BITS) + each.address.packed + port
        assert content in found[family, "endpoints"]


def test_a_service_of_this_host_is_the_uplink_in_the_namespace(
    names: Names, dns: LinkLocalService
) -> None:
    """At a port that the host leads on to it; another one keeps its address."""
    near = replace(dns, fabric_addresses=(IPv4Address("127.0.0.1"),), fabric_port=5353)
    services = Services.of([near], names, None)
    (endpoint,) = (each for each in services.endpoints if each.is_near)
    port = endpoint.near_port.to_bytes(2, "big") + bytes(2)
    content = mark(endpoint.number << INDEX_BITS)
    content += names.uplink_address.packed + port
    found = wanted_elements(names, services, (), ipv6=True)[IPV4, "endpoints"]
    assert content in found
    assert not any(IPv4Address("127.0.0.1").packed in each for each in found)


def test_ports_with_several_addresses_have_elements(
    names: Names, alice: Attachment
) -> None:
    """One for each; key and value one behind the other. Others have none."""
    bob = replace(alice, index=9, port=9)
    services = Services.of((), names, None)
    found = wanted_elements(names, services, [alice, bob], ipv6=True)
    assert {bytes((0, 9)) + mark(9)} == found[INET, "port_of"]
    assert (INET, "port_of") not in wanted_elements(names, services, [alice], ipv6=True)


def test_flows_are_counted_in_the_table_of_ipv4_without_ipv6(
    names: Names, alice: Attachment
) -> None:
    """As `port_elements` sends it."""
    services = Services.of((), names, None).without_ipv6()
    found = wanted_elements(names, services, [replace(alice, port=9)], ipv6=False)
    assert (IPV4, "port_of") in found
    assert not any(family in (INET, IPV6) for family, _ in found)
