"""network_data.json as cloud-init's network configuration."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vagent.nova.additions.test_additions_interfaces import (
    ONE,
    network_data,
)
from vagent.nova.additions.network_config import MAX_ROUTES, network_config


def nic(*networks: dict[str, Any], **link: Any) -> dict[str, Any]:
    """What becomes of one link with these networks on it."""
    on_link = [{"link": "l1", **each} for each in networks]
    made = network_config(network_data(*on_link, **link))
    device: dict[str, Any] = made["ethernets"]["nic0"]
    assert {"macaddress": ONE} == device.pop("match")
    return device


def test_a_fixed_address() -> None:
    """Address with prefix, routes, name servers, MTU."""
    route = {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"}
    network = {
        "type": "ipv4",
        "ip_address": "10.0.0.5",
        "netmask": "255.255.255.0",
        "routes": [route, {"network": "10.9.0.0", "netmask": "255.255.0.0"}],
        "services": [{"type": "dns", "address": "192.0.2.53"}, {"type": "ntp"}],
    }
    assert nic(network, mtu=1450) == {
        "mtu": 1450,
        "addresses": ["10.0.0.5/24"],
        "routes": [{"to": "0.0.0.0/0", "via": "10.0.0.1"}],
        "nameservers": {"addresses": ["192.0.2.53"]},
    }


def test_ipv6() -> None:
    """An address with a prefix, and a route in the same way."""
    route = {"network": "::", "netmask": "::", "gateway": "2001:db8::1"}
    network = {"type": "ipv6", "ip_address": "2001:db8::5/64", "routes": [route]}
    assert nic(network) == {
        "addresses": ["2001:db8::5/64"],
        "routes": [{"to": "::/0", "via": "2001:db8::1"}],
    }


@pytest.mark.parametrize(
    ("kind", "device"),
    [
        ("ipv4_dhcp", {"dhcp4": True}),
        ("ipv6_dhcp", {"dhcp6": True}),
        ("ipv6_dhcpv6-stateful", {"dhcp6": True}),
        ("ipv6_dhcpv6-stateless", {"dhcp6": True, "accept-ra": True}),
        ("ipv6_slaac", {"accept-ra": True}),
    ],
)
def test_what_the_network_configures(kind: str, device: dict[str, Any]) -> None:
    """Of these no address is set, also if one is given."""
    assert device == nic({"type": kind})
    assert device == nic({"type": kind, "ip_address": "2001:db8::5/64"})


def test_name_servers_of_all_where_a_network_has_none() -> None:
    """Those of the network go first."""
    data = network_data({"link": "l1", "type": "ipv4_dhcp"})
    data["services"] = [{"type": "dns", "address": "192.0.2.53"}]
    device = network_config(data)["ethernets"]["nic0"]
    assert {"addresses": ["192.0.2.53"]} == device["nameservers"]
    data["networks"] = []
    assert "nameservers" not in network_config(data)["ethernets"]["nic0"]


def test_bonds_and_vlans() -> None:
    """They name the devices that they are made of."""
    data = network_data({"link": "b", "type": "ipv4_dhcp"})
    data["links"] += [
        {
            "id": "b",
            "type": "bond",
            "bond_links": ["l1", "gone"],
            "bond_mode": "802.3ad",
        },
        {"id": "v", "type": "vlan", "vlan_link": "b", "vlan_id": 7, "mtu": 1400},
        {"id": "w", "type": "vlan", "vlan_link": "gone", "vlan_id": 7},
        {"id": "x", "type": "vlan", "vlan_link": "b", "vlan_id": "7"},
        {"id": "y", "type": "bond"},
    ]
    made = network_config(data)
    assert made["bonds"] == {
        "bond1": {
            "interfaces": ["nic0"],
            "parameters": {"mode": "802.3ad"},
            "dhcp4": True,
        },
        "bond5": {"interfaces": []},
    }
    assert {"vlan2": {"mtu": 1400, "id": 7, "link": "bond1"}} == made["vlans"]


@pytest.mark.parametrize(
    "route",
    [
        {"network": "10.0.0.0", "netmask": "255.0.0.0", "gateway": "nowhere"},
        {"network": "10.0.0.0", "netmask": "255.0.0.0"},
        {"network": "nowhere", "netmask": "255.0.0.0", "gateway": "10.0.0.1"},
        {"gateway": "10.0.0.1"},
    ],
)
def test_a_route_that_leads_nowhere_is_passed_over(route: dict[str, Any]) -> None:
    """The others are there, and so are name servers beside one that is no address."""
    good = {"network": "192.0.2.0", "netmask": "255.255.255.0", "gateway": "10.0.0.1"}
    services = [{"type": "dns", "address": "x"}, {"type": "dns", "address": "::1"}]
    device = nic({"type": "ipv4", "routes": [route, good], "services": services})
    assert [{"to": "192.0.2.0/24", "via": "10.0.0.1"}] == device["routes"]
    assert {"addresses": ["::1"]} == device["nameservers"]


def test_routes_are_bounded() -> None:
    """What a guest asks for is little work, whatever the document holds."""
    route = {"network": "10.0.0.0", "netmask": "255.0.0.0", "gateway": "10.0.0.1"}
    device = nic({"type": "ipv4", "routes": [route] * 1000})
    assert MAX_ROUTES == len(device["routes"])


def test_a_link_without_a_name_or_mac_is_passed_over() -> None:
    """There would be no device that it means."""
    assert {"version": 2} == network_config(network_data(ethernet_mac_address="x"))
    assert {"version": 2} == network_config(network_data(id=7))


WORDS = st.sampled_from(["l1", "vlan", "bond", ONE, "10.0.0.5", "dns", "255.0.255.0"])
KEYS = st.sampled_from(
    ["id", "type", "link", "mtu", "vlan_link", "vlan_id", "bond_links", "routes"]
)
MORE = st.sampled_from(
    ["services", "gateway", "network", "netmask", "ip_address", "address"]
)


@given(
    st.recursive(
        st.none() | st.integers() | WORDS,
        lambda inner: st.lists(inner) | st.dictionaries(KEYS | MORE, inner),
    )
)
def test_whatever_they_hold_nothing_fails(value: object) -> None:
    """They are stored unchecked, in OpenStack's own form."""
    item = value if isinstance(value, dict) else {}
    links = [{"id": "l1", "ethernet_mac_address": ONE}, {"type": "bond", **item}]
    network_config({"links": value, "networks": value, "services": value})
    network_config({"links": links, "networks": [{"link": "l1", **item}]})
