"""OpenStack's network_data.json → cloud-init's network configuration, version 2. Pure.

Devices are found by their MAC addresses, so names in the guest stay as they are. Links
and networks that are malformed, or of a type that is not known here, are passed over.
Sources: nova/virt/netutils.py, cloud-init's `convert_net_json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from vagent.nova.additions.interfaces import (
    MAX_INTERFACES,
    MAX_NETWORKS,
    address_of,
    mac_of,
    objects,
    text_of,
)

MAX_ROUTES = 256
"""Routes of one network that are looked at."""

_SWITCHES: Mapping[str, Mapping[str, bool]] = {
    "ipv4_dhcp": {"dhcp4": True},
    "ipv6_dhcp": {"dhcp6": True},
    "ipv6_dhcpv6-stateful": {"dhcp6": True},
    "ipv6_dhcpv6-stateless": {"dhcp6": True, "accept-ra": True},
    "ipv6_slaac": {"accept-ra": True},
}
"""What a type of network without an address of its own switches on."""


def network_config(network_data: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration; a device is named after the place of its link."""
    links = list(objects(network_data.get("links"), most=MAX_INTERFACES))
    networks = list(objects(network_data.get("networks"), most=MAX_NETWORKS))
    resolvers = _resolvers(network_data)
    names = {text_of(link, "id"): _name(link, at) for at, link in enumerate(links)}
    sections: dict[str, dict[str, Any]] = {}
    for link in links:
        link_id = text_of(link, "id")
        section, device = _device(link, names)
        if not section or not link_id:
            continue
        own = [each for each in networks if each.get("link") == link_id]
        device |= _addressing(own, resolvers)
        sections.setdefault(section, {})[names[link_id]] = device
    return {"version": 2, **sections}


def _name(link: Mapping[str, Any], place: int) -> str:
    kind = link.get("type")
    return f"{kind if kind in ('bond', 'vlan') else 'nic'}{place}"


def _device(
    link: Mapping[str, Any], names: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """The section that the link's device stands in ("": it has none), and what is said
    there of itself.
    """
    mtu = link.get("mtu")
    device: dict[str, Any] = {"mtu": mtu} if type(mtu) is int else {}
    match link.get("type"):
        case "vlan":
            above, number = names.get(text_of(link, "vlan_link")), link.get("vlan_id")
            if above is None or type(number) is not int:
                return "", {}
            return "vlans", {**device, "id": number, "link": above}
        case "bond":
            members = link.get("bond_links")
            ids = members if isinstance(members, list) else ()
            parts = [
                names[each] for each in ids if isinstance(each, str) and each in names
            ]
            mode = text_of(link, "bond_mode")
            parameters = {"parameters": {"mode": mode}} if mode else {}
            return "bonds", {**device, "interfaces": parts, **parameters}
        case _:
            mac = mac_of(link)
            return ("ethernets" if mac else ""), {
                **device,
                "match": {"macaddress": mac},
            }


def _addressing(
    networks: Sequence[Mapping[str, Any]], resolvers: Sequence[str]
) -> dict[str, Any]:
    """Addresses, routes and name servers of the networks on one link."""
    device: dict[str, Any] = {}
    addresses: list[str] = []
    routes: list[dict[str, str]] = []
    own: list[str] = []
    for network in networks:
        kind = text_of(network, "type")
        device |= _SWITCHES.get(kind, {})
        address = address_of(network)
        if address is not None and kind not in _SWITCHES:
            addresses.append(str(address))
        routes += _routes(network)
        own += _resolvers(network)
    if addresses:
        device["addresses"] = addresses
    if routes:
        device["routes"] = routes
    servers = list(dict.fromkeys(own or resolvers))
    if servers and networks:
        device["nameservers"] = {"addresses": servers}
    return device


def _routes(network: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    for route in objects(network.get("routes"), most=MAX_ROUTES):
        target, netmask = text_of(route, "network"), text_of(route, "netmask")
        gateway = text_of(route, "gateway")
        try:
            to = address_of({"ip_address": target, "netmask": netmask})
            if to is not None:
                found.append({"to": str(to.network), "via": str(ip_address(gateway))})
        except ValueError:
            continue
    return found


def _resolvers(item: Mapping[str, Any]) -> list[str]:
    """The name servers among `services`."""
    found = []
    for service in objects(item.get("services"), most=MAX_NETWORKS):
        try:
            if service.get("type") == "dns":
                found.append(str(ip_address(text_of(service, "address"))))
        except ValueError:
            continue
    return found
