"""What there is to say of each guest of this host: its ports, whether it will ask, and
what is wrong. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vagent.errors import WireError
from vagent.guests.domain import Domain, Interface
from vagent.guests.smbios import Asks, asks
from vagent.guests.wanted import wanted_port

Json = Mapping[str, Any]
ACTIVE = "Active"


def guest_rows(
    domain: Domain, ports: Iterable[Json], *, is_running: bool, serve_nova: bool
) -> Iterator[dict[str, Any]]:
    """A row for each interface with a tap, else one for the domain. `ports` are those
    that the port API lists.
    """
    at_tap = {port.get("system-name"): port for port in ports}
    about = {
        "name": domain.name,
        "uuid": domain.uuid,
        "is-running": is_running,
        "asks": asks(domain).value,
        "made-by": "nova" if domain.nova else "",
    }
    if not is_running or not domain.interfaces:
        wrong = _of_smbios(domain)
        if is_running and domain.unserved:
            kinds = ", ".join(sorted(set(domain.unserved)))
            wrong = [f"no interface with a tap: {kinds}", *wrong]
        yield about | {"wrong": wrong}
        return
    for interface in domain.interfaces:
        port = at_tap.get(interface.tap, {})
        yield about | {
            "tap": interface.tap,
            "mac": interface.mac,
            "address": port.get("ip-address"),
            "port": port.get("id"),
            "owner": port.get("owner"),
            "state": port.get("state"),
            "wrong": [
                *_of_port(domain, interface, port, serve_nova=serve_nova),
                *_of_smbios(domain),
            ],
        }


def _of_port(
    domain: Domain, interface: Interface, port: Json, *, serve_nova: bool
) -> Iterator[str]:
    if not port:
        yield _why_no_port(domain, interface, serve_nova=serve_nova)
        return
    if port.get("instance-id") != domain.uuid:
        yield (
            f"the port at this tap is another instance's: vagentctl port del "
            f"{port.get('id')}"
        )
    elif port.get("mac-address") != interface.mac:
        yield f"registered with another MAC address: {port.get('mac-address')}"
    elif port.get("state") != ACTIVE:
        yield f"port is {port.get('state')}"


def _why_no_port(domain: Domain, interface: Interface, *, serve_nova: bool) -> str:
    if domain.nova is not None and not serve_nova:
        return "left alone: libvirt/nova-domains is leave in agent.conf"
    try:
        wanted_port(domain, interface)
    except WireError as error:
        return f"no port: {error}"
    return "no port: journalctl -u vagent-libvirt says why"


def _of_smbios(domain: Domain) -> list[str]:
    if asks(domain) is not Asks.NO:
        return []
    return [f"cloud-init will not ask: vagentctl libvirt prepare {domain.name}"]
