"""The network interfaces of an instance, from its document and from its ports. Pure.

The document's `network_data` is OpenStack's own JSON and is not checked when it is
stored, so whatever is malformed in it is passed over here. Ports are those of this
host; a server for other hosts knows none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_interface,
)
from typing import Any

from vagent.nova.instance import Instance
from vagent.ports.port import Port

MAX_INTERFACES = 64
"""Interfaces that are looked at; QEMU's PCI bus has fewer places."""
MAX_NETWORKS = 256
"""Networks of `network_data` that are looked at."""

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_COMPOSED = frozenset(("bond", "vlan"))
"""Types of links that are made of other links."""

PortsOf = Callable[[str], Sequence[Port]]
"""The ports of this host that an instance has, by its UUID."""
Addressed = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """One interface. `mac` is lower case with colons, `id` and `network` are the ids
    of its port and network in OpenStack ("" where not known). An address whose network
    is not known has the prefix of a host.
    """

    mac: str
    id: str
    network: str
    addresses: tuple[Addressed, ...]

    @property
    def ipv4(self) -> tuple[IPv4Interface, ...]:
        """Its IPv4 addresses, the main one first."""
        return tuple(one for one in self.addresses if isinstance(one, IPv4Interface))

    @property
    def ipv6(self) -> tuple[IPv6Interface, ...]:
        """Its IPv6 addresses, the main one first."""
        return tuple(one for one in self.addresses if isinstance(one, IPv6Interface))


def interfaces_of(
    instance: Instance, ports: Sequence[Port]
) -> tuple[NetworkInterface, ...]:
    """The interfaces in the document's order, then those that only ports tell of.

    Addresses of ports come after the document's. Where there is one interface, the
    document's `fixed_addresses` are its own.
    """
    own = [port for port in ports if port.tenant_id == instance.tenant_id]
    found = _of_document(instance.network_data or {})
    for port in own:
        stated = found.get(port.mac) or NetworkInterface(
            port.mac, port.id, port.network_id, ()
        )
        found[port.mac] = _with(stated, port.addresses)
    interfaces = tuple(found.values())[:MAX_INTERFACES]
    if len(interfaces) == 1:
        return (_with(interfaces[0], instance.fixed_addresses),)
    return interfaces


def _with(
    interface: NetworkInterface, more: Iterable[IPv4Address | IPv6Address]
) -> NetworkInterface:
    """The interface with addresses that it does not have yet."""
    known = {address.ip for address in interface.addresses}
    new = [ip_interface(each) for each in dict.fromkeys(more) if each not in known]
    return NetworkInterface(
        interface.mac, interface.id, interface.network, (*interface.addresses, *new)
    )


def _of_document(network_data: Mapping[str, Any]) -> dict[str, NetworkInterface]:
    """By MAC address."""
    networks = list(objects(network_data.get("networks"), most=MAX_NETWORKS))
    found: dict[str, NetworkInterface] = {}
    for link in objects(network_data.get("links"), most=MAX_INTERFACES):
        mac = mac_of(link)
        if not mac or mac in found or link.get("type") in _COMPOSED:
            continue
        on_link = [each for each in networks if each.get("link") == link.get("id")]
        addresses = (address_of(each) for each in on_link)
        ids = (text_of(each, "network_id") for each in on_link)
        found[mac] = NetworkInterface(
            mac,
            text_of(link, "vif_id"),
            next(filter(None, ids), ""),
            tuple(each for each in addresses if each is not None),
        )
    return found


def objects(value: object, *, most: int) -> Iterator[Mapping[str, Any]]:
    """The objects in a list, of its first `most` items; none of anything else."""
    for item in value[:most] if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield item


def text_of(item: Mapping[str, Any], name: str) -> str:
    """A member that is a text of one line, else ""."""
    value = item.get(name)
    return value if isinstance(value, str) and value.isprintable() else ""


def mac_of(link: Mapping[str, Any]) -> str:
    """The MAC address of a link in lower case, "" if it has none."""
    mac = text_of(link, "ethernet_mac_address").lower()
    return mac if _MAC.fullmatch(mac) else ""


def address_of(network: Mapping[str, Any]) -> Addressed | None:
    """The address that a network of `network_data` gives, with its prefix; None where
    it gives none (DHCP).
    """
    text, netmask = text_of(network, "ip_address"), text_of(network, "netmask")
    if netmask and "/" not in text:
        text = f"{text}/{_prefix(netmask)}"
    try:
        return ip_interface(text)
    except ValueError:
        return None


def _prefix(netmask: str) -> str:
    """`255.255.255.0` stays; `ffff:ffff::` becomes a number of bits."""
    if ":" not in netmask:
        return netmask
    try:
        bits = f"{int(IPv6Address(netmask)):0128b}"
    except ValueError:
        return netmask
    return str(bits.count("1")) if "01" not in bits else netmask
