"""Checks where the agent listens: no two of its servers at one address and port, and
none where guests could reach it.

An address that guests are promised (169.254.169.254), or that stands for a guest, is
refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from vagent.config.findings import Findings
from vagent.config.metadata_address import METADATA_ADDRESS
from vagent.config.model import Listen
from vagent.config.section import Section

ANY = IPv4Address("0.0.0.0")  # noqa: S104 -- compared with, not bound


@dataclass(frozen=True, slots=True)
class Server:
    """One listening socket: the section that configures it, and its address
    and port.
    """

    section: Section
    name: str
    listen: Listen

    @property
    def is_sound(self) -> bool:
        """Whether neither its address nor its port was refused already."""
        return self.section.sound("address", "port")

    def meets(self, other: Server) -> bool:
        """Whether both cannot listen: they have the same port, and the same address or
        one of them has 0.0.0.0.
        """
        addresses = {self.listen.address, other.listen.address}
        same_port = self.listen.port == other.listen.port
        return same_port and (len(addresses) == 1 or ANY in addresses)


def read_listen(section: Section, default: Listen) -> Listen:
    """Address and port of one server."""
    return Listen(
        section.value("address", IPv4Address, default.address),
        section.value("port", int, default.port),
    )


def check_addresses(
    servers: list[Server], identities: IPv4Network, findings: Findings
) -> None:
    """Refuse addresses that nobody can listen on, and those that guests could reach."""
    for server in servers:
        address, place = server.listen.address, server.section.place_of("address")
        if not server.is_sound:
            continue
        if address.is_multicast or address.is_reserved:
            findings.refuse(place, f"got {address}; allowed: a unicast address")
        elif address == METADATA_ADDRESS or address in identities:
            findings.refuse(
                place,
                f"got {address}, which belongs to guests; allowed: an address of this "
                f"host outside {identities} and not {METADATA_ADDRESS}",
            )


def check_distinct(servers: list[Server], findings: Findings) -> None:
    """Refuse the later of two servers that would have the same address and port."""
    for first, second in combinations([each for each in servers if each.is_sound], 2):
        if first.meets(second):
            where = f"{second.listen.address}:{second.listen.port}"
            named = second if "port" in second.section.values else first
            findings.refuse(
                named.section.place_of("port"),
                f"<{second.name}> at {where} meets <{first.name}>; "
                "allowed: a port of its own",
            )
