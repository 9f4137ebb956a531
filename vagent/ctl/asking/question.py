"""What is asked, of whom: values, and the headers that Nova checks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from vagent.config.model import Secret
from vagent.errors import VagentError
from vagent.metadata.guest.identity_headers import signature

METADATA_PORT = 8775
"""Nova's `[DEFAULT] metadata_listen_port`."""


@dataclass(frozen=True, slots=True)
class AskedEndpoint:
    """Where a metadata service listens. `name` is the one that its certificate must be
    for, where that is not `host`.
    """

    host: str
    port: int = METADATA_PORT
    tls: bool = False
    name: str = ""

    @property
    def url(self) -> str:
        """Its URL, without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def tls_hint(self) -> str:
        """What to try where plain HTTP is not understood."""
        return f"if it expects TLS: --upstream {replace(self, tls=True).url}"


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A GET for an instance. `address` is the guest's, "" to leave it out."""

    path: str
    instance_id: str
    tenant_id: str
    secret: Secret = field(repr=False)
    address: str = ""

    def headers(self) -> list[tuple[str, str]]:
        """The headers by which Nova knows the instance, in the agent's order."""
        forwarded = [("X-Forwarded-For", self.address)] if self.address else []
        return [
            *forwarded,
            ("X-Instance-ID", self.instance_id),
            ("X-Tenant-ID", self.tenant_id),
            ("X-Instance-ID-Signature", signature(self.secret, self.instance_id)),
        ]

    def at(self, path: str) -> AskedQuestion:
        """The same question for another path."""
        return replace(self, path=path)

    def with_other_tenants(self) -> Iterator[AskedQuestion]:
        """The same for the project in the other forms of a UUID, which to Nova are
        other projects.
        """
        try:
            uuid = UUID(self.tenant_id)
        except ValueError:
            return
        for form in (uuid.hex, str(uuid)):
            if form != self.tenant_id:
                yield replace(self, tenant_id=form)


def endpoint_of(url: str) -> AskedEndpoint:
    """The endpoint of `--upstream`. Raises VagentError."""
    allowed = "allowed is http://HOST[:PORT] or https://HOST[:PORT]"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise VagentError(f"--upstream: got {url!r}, {allowed}") from None
    plain = not (parts.path.strip("/") or parts.query or parts.username)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise VagentError(f"--upstream: got {url!r}, {allowed}")
    tls = parts.scheme == "https"
    return AskedEndpoint(parts.hostname, port or METADATA_PORT, tls)


def provisioned(services: Any, *, tls: bool) -> list[AskedEndpoint]:
    """The endpoints of the metadata service in a reply of the config API."""
    for service in services if isinstance(services, list) else ():
        if (
            isinstance(service, Mapping)
            and service.get("linklocal_service_name") == "metadata"
        ):
            name = str(service.get("ip_fabric_DNS_service_name") or "")
            port = int(service.get("ip_fabric_service_port") or METADATA_PORT)
            hosts = service.get("ip_fabric_service_ip") or [name]
            return [AskedEndpoint(str(host), port, tls, name) for host in hosts if host]
    return []
