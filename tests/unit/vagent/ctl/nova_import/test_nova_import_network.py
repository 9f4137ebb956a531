"""Networks beyond what the recorded instances show."""

from __future__ import annotations

from typing import Any

from vagent.ctl.nova_import.network import addresses, is_injected, network_data


def interface(*subnets: dict[str, Any], **more: Any) -> dict[str, Any]:
    network = {"id": "n", "subnets": list(subnets), "meta": {"mtu": 1450}}
    return {"id": "v", "address": "m", "type": "ovs", "network": network, **more}


def subnet(version: int = 4, **more: Any) -> dict[str, Any]:
    return {
        "version": version,
        "cidr": "10.0.0.0/20" if version == 4 else "2001:db8::/56",
        "ips": [{"address": "10.0.0.5" if version == 4 else "2001:db8::5"}],
        "meta": {},
        **more,
    }


def test_no_interfaces() -> None:
    """Nova shows an empty object."""
    assert {} == network_data([])
    assert ([], []) == addresses([])


def test_interfaces_without_subnets() -> None:
    """They are not shown."""
    empty: dict[str, Any] = {"links": [], "networks": [], "services": []}
    assert empty == network_data([interface(), {"id": "v", "network": None}])


def test_a_link_without_a_name_or_known_type() -> None:
    """It gets a number, and is `phy`."""
    one = interface(subnet(), type="hostdev_physical")
    (link,) = network_data([one])["links"]
    assert ("interface0", "phy", 1450) == (link["id"], link["type"], link["mtu"])
    (named,) = network_data([interface(subnet(), devname="tap0")])["links"]
    assert "tap0" == named["id"]


def test_only_the_first_subnet_of_each_family() -> None:
    """The others' addresses are known all the same."""
    second = subnet(ips=[{"address": "10.0.9.9"}])
    one = interface(subnet(), second, subnet(6))
    shown = [network["ip_address"] for network in network_data([one])["networks"]]
    assert ["10.0.0.5", "2001:db8::5"] == shown
    assert (["10.0.0.5", "10.0.9.9", "2001:db8::5"], []) == addresses([one])


def test_masks_routes_and_services() -> None:
    """A gateway is the default route, further routes follow; a name server is shown
    once for all.
    """
    dns = [{"address": "192.0.2.53"}]
    routes = [{"cidr": "10.9.0.0/16", "gateway": {"address": "10.0.0.2"}}]
    one = subnet(dns=dns, routes=routes, gateway={"address": "10.0.0.1"})
    found = network_data([interface(one), interface(subnet(6, dns=dns))])
    four, six = found["networks"]
    assert ("255.255.240.0", "ffff:ffff:ffff:ff00::") == (
        four["netmask"],
        six["netmask"],
    )
    assert ["0.0.0.0", "10.9.0.0"] == [route["network"] for route in four["routes"]]
    assert [] == six["routes"]
    assert [{"type": "dns", "address": "192.0.2.53"}] == found["services"]


def test_a_dhcp_server_hides_address_and_mtu() -> None:
    """So that the guest asks it."""
    found = network_data([interface(subnet(meta={"dhcp_server": "10.0.0.2"}))])
    assert [None] == [link["mtu"] for link in found["links"]]
    assert [{"id": "network0", "type": "ipv4_dhcp", "link": "interface0",
             "network_id": "n"}] == found["networks"]  # fmt: skip


def test_floating_addresses() -> None:
    """Those of IPv4."""
    floating = [{"address": "203.0.113.5"}, {"address": "2001:db8::f"}]
    ips = [{"address": "10.0.0.5", "floating_ips": floating}]
    assert (["10.0.0.5"], ["203.0.113.5"]) == addresses([interface(subnet(ips=ips))])


def test_injected() -> None:
    """It is said by the network."""
    assert not is_injected([interface(subnet())])
    assert is_injected([{"network": {"meta": {"injected": True}}}])
