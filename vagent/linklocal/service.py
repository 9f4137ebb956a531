"""A link-local service: the address and port for guests, and its fabric endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

METADATA = "metadata"
"""Name of the service that the metadata proxy answers (Contrail: equal, lower case)."""
METADATA6 = "metadata6"
"""The same under the name that Contrail has for it at an IPv6 address."""


@dataclass(frozen=True, slots=True)
class LinkLocalService:
    """One entry of `linklocal_services` (Contrail's LinklocalServiceEntryType).

    `name` is lower case. Fabric addresses that did not parse are already left out.
    """

    name: str
    address: IPv4Address | IPv6Address
    port: int
    fabric_addresses: tuple[IPv4Address | IPv6Address, ...]
    fabric_port: int
    fabric_dns_name: str = ""

    @property
    def is_metadata(self) -> bool:
        """Is this the service that the metadata proxy answers?"""
        return self.name in (METADATA, METADATA6)
