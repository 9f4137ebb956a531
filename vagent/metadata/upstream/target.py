"""Where requests go: the fabric endpoints of the metadata service. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from vagent.linklocal.service import LinkLocalService


@dataclass(frozen=True, slots=True)
class HostPort:
    """One upstream endpoint; `host` is an IP address or, failing that, a name."""

    host: str
    port: int

    @property
    def is_address(self) -> bool:
        """Is the host an IP address rather than a name?"""
        try:
            ip_address(self.host)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """All endpoints of one service.

    `server_name` is the DNS name they share, used for Host, SNI and certificate check;
    "" means that each endpoint is known by its own host.
    """

    endpoints: tuple[HostPort, ...]
    server_name: str

    def name_of(self, endpoint: HostPort) -> str:
        """The name or address that this endpoint's certificate must be valid for."""
        return self.server_name or endpoint.host


def target_of(service: LinkLocalService) -> Target:
    """Fabric addresses if there are any, else the DNS name, resolved at each connect.

    Without either the target has no endpoints, which is the same as no service.
    """
    name = service.fabric_dns_name
    hosts = [str(address) for address in service.fabric_addresses]
    if not hosts and name:
        hosts = [name]
    unique = dict.fromkeys(hosts)
    return Target(
        tuple(HostPort(host, service.fabric_port) for host in unique), server_name=name
    )
