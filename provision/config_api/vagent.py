"""Our own call about services, under /vagent/."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from provision.config_api.effect import Following
from provision.config_api.reply import (
    ConfigApiReply,
    ConfigApiRequest,
    json_reply,
)
from provision.config_api.routes import ApiRoute
from vagent.datapath.endpoints.health import EndpointState
from vagent.linklocal.codec import encode_entry
from vagent.linklocal.service import LinkLocalService
from vagent.linklocal.table import REASONS, ServiceTable


def no_endpoints(_service: LinkLocalService) -> Iterable[EndpointState]:
    """No endpoints, for a config API without a data path."""
    return ()


class Additions:
    """`/vagent/services`."""

    def __init__(
        self,
        *,
        services: Callable[[], ServiceTable],
        endpoints_of: Callable[
            [LinkLocalService], Iterable[EndpointState]
        ] = no_endpoints,
        following: Following | None = None,
    ) -> None:
        self._services = services
        self._following = following
        self._endpoints_of = endpoints_of

    def routes(self) -> tuple[ApiRoute, ...]:
        """The routes of these calls."""
        return (ApiRoute("GET", "/vagent/services", self.list_services),)

    async def list_services(self, _request: ConfigApiRequest) -> ConfigApiReply:
        """The table in force, with the health of each service's fabric endpoints, and
        what is not in force, with the reason: entries that were left out of the table,
        and services of the table that guests cannot use now.
        """
        table = self._services()
        found = self._following.not_in_force() if self._following else ()
        pending = [
            {
                "linklocal_service_name": each.name,
                "reason": each.reason,
                "detail": each.detail,
            }
            for each in found
            if each.reason not in REASONS
        ]
        left_out = [
            {
                "position": entry.position,
                "linklocal_service_name": entry.name,
                "reason": entry.reason,
                "detail": entry.detail,
            }
            for entry in table.left_out
        ]
        services = [encode_entry(service) for service in table]
        endpoints = [
            _endpoint(service, state)
            for service in table
            for state in self._endpoints_of(service)
        ]
        return json_reply(
            {
                "services": services,
                "endpoints": endpoints,
                "left_out": left_out,
                "pending": pending,
            }
        )


def _endpoint(service: LinkLocalService, state: EndpointState) -> dict[str, Any]:
    endpoint = state.endpoint
    return {
        "linklocal_service_ip": str(service.address),
        "linklocal_service_port": service.port,
        "address": str(endpoint.address),
        "port": endpoint.port,
        "tcp": state.tcp.value,
        "udp": state.udp.value,
    }
