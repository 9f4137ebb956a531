"""Interfaces of an instance, of what its document and its ports say."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.nova.additions.interfaces import (
    MAX_INTERFACES,
    NetworkInterface,
    interfaces_of,
)
from vagent.nova.codec import decode_instance
from vagent.ports.port import Port

UUID = "1a2b3c00-0000-4000-8000-000000000003"
TENANT = "7e000000000040008000000000000001"
ONE, TWO = "02:00:00:00:00:01", "02:00:00:00:00:02"


def instance(**fields: Any) -> Any:
    return decode_instance({"uuid": UUID, "tenant_id": TENANT, **fields})


def port(mac: str = ONE, tenant_id: str = TENANT, **fields: Any) -> Port:
    given: dict[str, Any] = {
        "address": IPv4Address("10.0.0.5"),
        "address6": None,
        **fields,
    }
    return Port(
        id=f"port of {mac}",
        instance_id=UUID,
        tenant_id=tenant_id,
        network_id="net",
        display_name="",
        tap="tap1",
        mac=mac,
        **given,
    )


def network_data(*networks: dict[str, Any], **link: Any) -> dict[str, Any]:
    first = {"id": "l1", "vif_id": "v1", "type": "ovs", "ethernet_mac_address": ONE}
    return {"links": [{**first, **link}], "networks": list(networks)}


def test_a_port_alone_tells_mac_and_addresses() -> None:
    """Nothing else is known of its networks than their one address."""
    further = (IPv6Address("2001:db8::5"),)
    assert interfaces_of(instance(), [port(further=further)]) == (
        NetworkInterface(
            ONE,
            f"port of {ONE}",
            "net",
            (ip_interface("10.0.0.5/32"), ip_interface("2001:db8::5/128")),
        ),
    )


def test_a_document_alone_tells_networks_as_well() -> None:
    """Addresses with their prefixes, of both families, in the document's order."""
    data = network_data(
        {"link": "l1", "type": "ipv4_dhcp", "network_id": "n0"},
        {"link": "other", "ip_address": "10.9.9.9", "netmask": "255.255.255.0"},
        {
            "link": "l1",
            "network_id": "n1",
            "ip_address": "10.0.0.5",
            "netmask": "255.255.255.0",
        },
        {"link": "l1", "ip_address": "2001:db8::5", "netmask": "ffff:ffff:ffff:ffff::"},
        {"link": "l1", "ip_address": "2001:db8:1::5/56", "netmask": "ffff::"},
    )
    (found,) = interfaces_of(instance(network_data=data), ())
    assert (ONE, "v1", "n0") == (found.mac, found.id, found.network)
    assert [ip_interface("10.0.0.5/24")] == list(found.ipv4)
    assert [ip_interface("2001:db8::5/64"), ip_interface("2001:db8:1::5/56")] == list(
        found.ipv6
    )


@pytest.mark.parametrize(
    "network",
    [
        {"ip_address": "10.0.0.5", "netmask": "255.0.255.0"},
        {"ip_address": "2001:db8::5", "netmask": "ffff:0:ffff::"},
        {"ip_address": "2001:db8::5", "netmask": "ffff:nonsense"},
        {"ip_address": "10.0.0.5", "netmask": "33"},
        {"ip_address": "somewhere"},
        {"ip_address": 7, "netmask": "255.0.0.0"},
        {"ip_address": "10.0.0.5\n"},
    ],
)
def test_an_address_that_is_none_is_passed_over(network: dict[str, Any]) -> None:
    """Its interface is there, without an address."""
    data = network_data({"link": "l1", **network})
    (found,) = interfaces_of(instance(network_data=data), ())
    assert () == found.addresses


def test_what_a_port_knows_comes_after_the_document() -> None:
    """An address that both have is there once, with the prefix of the document."""
    data = network_data(
        {"link": "l1", "ip_address": "10.0.0.5", "netmask": "255.255.255.0"},
        ethernet_mac_address=ONE.upper(),
    )
    ports = [port(further=(IPv4Address("10.0.0.6"),)), port(TWO)]
    one, two = interfaces_of(instance(network_data=data), ports)
    assert ("10.0.0.5/24", "10.0.0.6/32") == tuple(map(str, one.addresses))
    assert (TWO, f"port of {TWO}") == (two.mac, two.id)


def test_fixed_addresses_are_those_of_the_only_interface() -> None:
    """With two, nobody can tell whose they are."""
    known = instance(fixed_addresses=["10.0.0.7"])
    (only,) = interfaces_of(known, [port(address=None)])
    assert ["10.0.0.7/32"] == [str(one) for one in only.addresses]
    both = interfaces_of(known, [port(address=None), port(TWO, address=None)])
    assert [(), ()] == [one.addresses for one in both]


def test_a_port_of_another_tenant_is_not_the_instance_s() -> None:
    """Its guest is refused by the server, and its address is not shown to others."""
    assert () == interfaces_of(instance(), [port(tenant_id="f" * 32)])


@pytest.mark.parametrize(
    "link",
    [
        {"ethernet_mac_address": "no mac"},
        {"ethernet_mac_address": None},
        {"type": "bond"},
        {"type": "vlan"},
    ],
)
def test_a_link_that_is_no_interface_is_passed_over(link: dict[str, Any]) -> None:
    """Without a MAC address, or made of other links."""
    assert () == interfaces_of(instance(network_data=network_data(**link)), ())


def test_of_two_links_with_one_mac_the_first_counts() -> None:
    """As in the tree, where MAC addresses are names."""
    data = network_data()
    data["links"].append({**data["links"][0], "id": "l2", "vif_id": "v2"})
    (found,) = interfaces_of(instance(network_data=data), ())
    assert "v1" == found.id


def test_interfaces_are_bounded() -> None:
    """A document with ten thousand links makes no work for each request."""
    links = [
        {
            "id": f"l{n}",
            "ethernet_mac_address": f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}",
        }
        for n in range(1000)
    ]
    found = interfaces_of(
        instance(network_data={"links": links}), [port("06" + ONE[2:])]
    )
    assert MAX_INTERFACES == len(found)


@given(
    st.recursive(
        st.none() | st.integers() | st.sampled_from(["l1", ONE, "10.0.0.5/33", "ipv4"]),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "links",
                        "networks",
                        "id",
                        "link",
                        "ethernet_mac_address",
                        "netmask",
                    ]
                ),
                inner,
            )
        ),
    )
)
def test_whatever_network_data_hold_nothing_fails(value: object) -> None:
    """They are stored unchecked, in OpenStack's own form."""
    interfaces_of(instance(network_data={"links": value, "networks": value}), ())
