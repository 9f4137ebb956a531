"""Nova's cache of an instance's network → network_data.json and addresses. Pure.

What nova/virt/netutils.py makes of it: only the first IPv4 and the first IPv6 subnet of
an interface is shown, and a network with DHCP without its address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

Json = Mapping[str, Any]

_SHOWN_TYPES = frozenset(
    ("bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif")
)
"""Types that a link shows as they are (LEGACY_EXPOSED_VIF_TYPES); others are `phy`."""
_ANYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - a route to everywhere


def network_data(interfaces: Sequence[Json]) -> dict[str, Any]:
    """network_data.json; `{}` for an instance without interfaces."""
    if not interfaces:
        return {}
    links: list[Json] = []
    networks: list[Json] = []
    services: list[Json] = []
    for interface in interfaces:
        network = interface.get("network") or {}
        subnets = list(_first_subnets(network))
        if not subnets:
            continue
        link = _link(interface, network, len(links))
        links.append(link)
        for subnet in subnets:
            if subnet.get("ips"):
                networks.append(_network(len(networks), link["id"], network, subnet))
                services += [one for one in _dns(subnet) if one not in services]
    return {"links": links, "networks": networks, "services": services}


def addresses(interfaces: Sequence[Json]) -> tuple[list[str], list[str]]:
    """All fixed addresses, and the floating ones of IPv4."""
    fixed: list[str] = []
    floating: list[str] = []
    for interface in interfaces:
        for subnet in (interface.get("network") or {}).get("subnets") or ():
            for ip in subnet.get("ips") or ():
                fixed.append(ip["address"])
                others = [one["address"] for one in ip.get("floating_ips") or ()]
                floating += [one for one in others if ip_address(one).version == 4]
    return fixed, floating


def is_injected(interfaces: Sequence[Json]) -> bool:
    """Does Nova make an `interfaces` file of it, from a template of its host's?"""
    return any(
        (interface.get("network") or {}).get("meta", {}).get("injected")
        for interface in interfaces
    )


def _first_subnets(network: Json) -> Iterator[Json]:
    for version in (4, 6):
        for subnet in network.get("subnets") or ():
            if subnet.get("version") == version:
                yield subnet
                break


def _link(interface: Json, network: Json, number: int) -> dict[str, Any]:
    kind = interface.get("type")
    by_dhcp = any(one["meta"].get("dhcp_server") for one in network["subnets"])
    return {
        "id": interface.get("devname") or f"interface{number}",
        "vif_id": interface["id"],
        "type": kind if kind in _SHOWN_TYPES else "phy",
        "mtu": None if by_dhcp else network.get("meta", {}).get("mtu"),
        "ethernet_mac_address": interface.get("address"),
    }


def _network(number: int, link: str, network: Json, subnet: Json) -> dict[str, Any]:
    version, meta = subnet["version"], subnet.get("meta", {})
    mode = meta.get("ipv6_address_mode")
    by_dhcp = meta.get("dhcp_server") is not None or meta.get("enable_dhcp")
    shown = {"id": f"network{number}", "link": link, "network_id": network["id"]}
    if mode is None and by_dhcp:
        return {
            "id": shown["id"],
            "type": f"ipv{version}_dhcp",
            "link": link,
            "network_id": network["id"],
        }
    return {
        "id": shown["id"],
        "type": f"ipv{version}" + ("" if mode is None else f"_{mode}"),
        "link": link,
        "ip_address": subnet["ips"][0]["address"],
        "netmask": str(ip_network(subnet["cidr"], strict=False).netmask),
        "routes": [*_default_route(subnet), *map(_route, subnet.get("routes") or ())],
        "network_id": network["id"],
        "services": _dns(subnet),
    }


def _default_route(subnet: Json) -> Iterator[Json]:
    gateway = (subnet.get("gateway") or {}).get("address")
    if gateway:
        anywhere = _ANYWHERE[subnet["version"]]
        yield {"network": anywhere, "netmask": anywhere, "gateway": gateway}


def _route(route: Json) -> Json:
    network = ip_network(route["cidr"], strict=False)
    return {
        "network": str(network.network_address),
        "netmask": str(network.netmask),
        "gateway": route["gateway"]["address"],
    }


def _dns(subnet: Json) -> list[Json]:
    return [
        {"type": "dns", "address": ip.get("address")} for ip in subnet.get("dns") or ()
    ]
