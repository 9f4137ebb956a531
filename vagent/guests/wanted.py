"""Which ports the domains of this host should have. Pure.

Each interface with a tap becomes a port. Nova's keep the UUIDs and addresses that Nova
gave them; those of other domains have a UUID made of the domain's and the MAC address,
as the name of the tap is another one at each start, and learn their address. The port
API's own rules say what may be registered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from vagent.errors import WireError
from vagent.guests.domain import Domain, Interface, NovaPort
from vagent.ports.codec import VM_PORT, decode_port
from vagent.ports.members import MAX_NAME, parse_address
from vagent.ports.port import NO_NETWORK, Port, PortOwner

AUTHOR = "vagent-libvirt"
PROJECT = "libvirt"
"""The project of domains that Nova did not make. The embedded server answers a guest
only where its instance names the same one."""
NAME_OF_TAP = 11
"""Characters of a port's UUID in the tap's name, after `tap`: 14 in all, which Nova and
Neutron call NIC_NAME_LEN."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WantedPort:
    """A port to register: what is sent, and the same as a value."""

    members: Json
    port: Port


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the domains ask for. `problems` say which interfaces get no port, and why;
    `left_alone` are the names of Nova's domains that nobody asked to serve.
    """

    ports: tuple[WantedPort, ...] = ()
    problems: tuple[str, ...] = ()
    left_alone: tuple[str, ...] = ()


def wanted_ports(domains: Iterable[Domain], *, serve_nova: bool) -> Wanted:
    """The ports of these domains. Of two interfaces that claim one UUID or one tap the
    first counts, in the order of the domains' UUIDs.
    """
    ports: dict[str, WantedPort] = {}
    taps: dict[str, str] = {}
    problems: list[str] = []
    left_alone: list[str] = []
    for domain in sorted(domains, key=lambda each: each.uuid):
        if domain.nova is not None and not serve_nova:
            left_alone.append(domain.name)
            continue
        for interface in domain.interfaces:
            where = f"domain {domain.name!r}, interface {interface.tap!r}"
            try:
                wanted = wanted_port(domain, interface)
            except WireError as error:
                problems.append(f"{where}: {error}")
                continue
            claimed = ports.get(wanted.port.id)
            owner = claimed.port.instance_id if claimed else taps.get(wanted.port.tap)
            if owner is not None:
                problems.append(f"{where}: domain {owner} has this port or tap already")
                continue
            ports[wanted.port.id] = wanted
            taps[wanted.port.tap] = domain.uuid
    return Wanted(tuple(ports.values()), tuple(problems), tuple(left_alone))


def wanted_port(domain: Domain, interface: Interface) -> WantedPort:
    """The port of one interface. Raises WireError where the port API would refuse it.

    An address that Nova does not name is learned.
    """
    nova_port = _nova_port(domain, interface)
    addresses = tuple(_usable(nova_port.addresses)) if nova_port else ()
    ip = next((one for one in addresses if isinstance(one, IPv4Address)), None)
    ip6 = next((one for one in addresses if isinstance(one, IPv6Address)), None)
    further = [str(one) for one in addresses if one not in (ip, ip6)]
    name = domain.nova.name if domain.nova and domain.nova.name else domain.name
    project = domain.nova.project if domain.nova else PROJECT
    members: Json = {
        "id": _port_id(domain, interface, nova_port),
        "instance-id": domain.uuid,
        "vn-id": NO_NETWORK,
        "vm-project-id": "",
        **({"project-id": project} if project else {}),
        "display-name": name[:MAX_NAME],
        "ip-address": str(ip) if ip else "0.0.0.0",  # noqa: S104 - "unknown"
        "ip6-address": str(ip6) if ip6 else "None",
        "mac-address": interface.mac,
        "system-name": interface.tap,
        "type": VM_PORT,
        "rx-vlan-id": -1,
        "tx-vlan-id": -1,
        "author": AUTHOR,
        "owner": PortOwner.WATCHER.value,
        **({"further-addresses": further} if further else {}),
        **({} if addresses else {"learn": True}),
    }
    return WantedPort(members, decode_port(members))


def found_port(members: Json) -> Port:
    """A port that the port API lists. Raises WireError."""
    ip6 = members.get("v6-ip-address", "None")
    return decode_port({**members, "ip6-address": ip6})


def is_as_wanted(found: Port, wanted: Port) -> bool:
    """Does a registered port need no change? What its client does not say does not
    matter, and an address that was learned is right.
    """
    if found.learn and wanted.learn:
        found = replace(found, address=wanted.address, address6=wanted.address6)
    same = {
        "author": wanted.author,
        "time": wanted.time,
        "session_tokens": wanted.session_tokens,
        "link_up": wanted.link_up,
    }
    return replace(found, **same) == wanted  # type: ignore[arg-type]


def _nova_port(domain: Domain, interface: Interface) -> NovaPort | None:
    """The port of Nova's metadata that this interface is: by the UUID that the switch
    knows, else by the name of the tap.
    """
    if domain.nova is None:
        return None
    for port in domain.nova.ports:
        if interface.port_id:
            is_it = port.id == interface.port_id
        else:
            is_it = interface.tap == f"tap{port.id[:NAME_OF_TAP]}"
        if is_it:
            return port
    return None


def _port_id(domain: Domain, interface: Interface, nova_port: NovaPort | None) -> str:
    if nova_port is not None:
        return nova_port.id
    if domain.nova is not None and interface.port_id:
        return interface.port_id
    return str(uuid5(NAMESPACE_URL, f"vagent:{domain.uuid}:{interface.mac}"))


def _usable(texts: Iterable[str]) -> Iterator[IPv4Address | IPv6Address]:
    """The addresses that a guest can have, each once."""
    seen: set[IPv4Address | IPv6Address] = set()
    for text in texts:
        found = parse_address(text, IPv4Address) or parse_address(text, IPv6Address)
        if found is not None and found not in seen:
            seen.add(found)
            yield found
