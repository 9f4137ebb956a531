"""Services offered to guests, and guests that use them: what several tests do."""

from __future__ import annotations

import re
import socket
from typing import Any

from lab.fabric import Server
from lab.guests import Guest
from lab.namespaces import PATIENCE, inside
from lab.waiting import wait_for

SERVICE4, SERVICE6 = "169.254.1.7", "fd00:5e::7"
"""Service addresses that are nobody's but ours."""
BOTH = (SERVICE4, SERVICE6)
ANSWER_DEADLINE = 5.0 * PATIENCE


def offer(
    site: Any, name: str, address: str, port: int, *fabric: str, fabric_port: int = 7777
) -> None:
    """Provision a service that really is at these fabric addresses."""
    site.agent.tool(*_entry(name, address, port, fabric_port, "add"), *_at(fabric))


def offer_by_name(site: Any, name: str, address: str, port: int, dns_name: str) -> None:
    """Provision one that is where a DNS name says."""
    entry = _entry(name, address, port, 7777, "add")
    site.agent.tool(*entry, "--ipfabric_dns_service_name", dns_name)


def withdraw(site: Any, name: str, address: str, port: int) -> None:
    """Take one away."""
    site.agent.tool(*_entry(name, address, port, 7777, "delete"))


def _entry(
    name: str, address: str, port: int, fabric_port: int, oper: str
) -> tuple[str, ...]:
    return (
        *("provision.provision_linklocal", "--linklocal_service_name", name),
        *("--linklocal_service_ip", address, "--linklocal_service_port", str(port)),
        *("--ipfabric_service_port", str(fabric_port), "--oper", oper),
    )


def _at(fabric: tuple[str, ...]) -> tuple[str, ...]:
    return ("--ipfabric_service_ip", *fabric) if fabric else ()


def way_to(guest: Guest, address: str) -> None:
    """An on-link route of the guest to an IPv6 service address."""
    route = ("ip", "-6", "route", "replace", address, "dev", "eth0")
    guest.machine.run(*route)


def connect(guest: Guest, address: str, port: int) -> socket.socket:
    """A TCP connection from a guest. Raises OSError."""
    return inside(
        guest.machine.name,
        lambda: socket.create_connection((address, port), ANSWER_DEADLINE),
    )


def datagrams(guest: Guest, address: str, port: int) -> socket.socket:
    """A UDP socket of a guest, connected to a service."""

    def make() -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.settimeout(ANSWER_DEADLINE)
        made.connect((address, port))
        return made

    return inside(guest.machine.name, make)


OPEN = {"tcp": connect, "udp": datagrams}


def told(connection: socket.socket, text: bytes = b"hello") -> bytes:
    """What comes back; the first word is the name of who answered."""
    connection.sendall(text)
    return connection.recv(1000)


def answered(guest: Guest, kind: str, address: str, port: int) -> str:
    """Who answers a new flow of this kind (tcp or udp); "" for nobody in time or a
    refusal.
    """
    try:
        with OPEN[kind](guest, address, port) as flow:
            name, _, text = told(flow).partition(b" ")
    except OSError:
        return ""
    assert b"HELLO" == text
    return name.decode()


def metric(site: Any, name: str) -> float:
    """One number of /metrics."""
    page = site.agent.get("http://127.0.0.1:8085/metrics")
    found = re.search(rf"^vagent_{re.escape(name)} (\S+)$", page, re.MULTILINE)
    assert found is not None, f"no {name} in /metrics"
    return float(found[1])


def traced(site: Any, buffer: str = "LinkLocalFlow") -> str:
    """A trace, as an operator sees it."""
    text: str = site.agent.tool("vagent.ctl", "trace", buffer)
    return text


def known(site: Any, *guests: Guest) -> None:
    """Register them, with a way to the IPv6 service address."""
    site.introduce(*guests)
    for guest in guests:
        way_to(guest, SERVICE6)
        wait_for(guest.link_local)


def at(server: Server, address: str) -> str:
    """Where a server is, for a service at this address."""
    return server.address6 if ":" in address else server.address
