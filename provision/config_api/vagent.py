"""Our own calls below /vagent/: instances of the embedded metadata server, and the
services in force.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from provision.config_api.reply import (
    ConfigApiReply,
    ConfigApiRequest,
    RefusedError,
    json_object,
    json_reply,
)
from provision.config_api.routes import ApiRoute, expected_revision
from provision.config_api.vrouter_config import parse_uuid
from vagent.datapath.endpoints.health import EndpointState
from vagent.errors import WireError
from vagent.linklocal.codec import encode_entry
from vagent.linklocal.service import LinkLocalService
from vagent.linklocal.table import ServiceTable
from vagent.store.store import ConfigStore

INSTANCE = "instance"
"""Kind in the store; the id is the instance's UUID, lower case with dashes."""


def no_endpoints(_service: LinkLocalService) -> Iterable[EndpointState]:
    """No endpoints, for a config API without a data path."""
    return ()


class Additions:
    """`/vagent/instances`, `/vagent/instance/<uuid>` and `/vagent/services`."""

    def __init__(
        self,
        store: ConfigStore,
        *,
        services: Callable[[], ServiceTable],
        check_instance: Callable[[dict[str, Any]], None],
        companions: Collection[str] = (),
        endpoints_of: Callable[
            [LinkLocalService], Iterable[EndpointState]
        ] = no_endpoints,
    ) -> None:
        self._store = store
        self._companions = companions
        self._services = services
        self._check_instance = check_instance
        self._endpoints_of = endpoints_of

    def routes(self) -> tuple[ApiRoute, ...]:
        """The routes of these calls."""
        return (
            ApiRoute("GET", "/vagent/services", self.list_services),
            ApiRoute("GET", "/vagent/instances", self.list_instances),
            ApiRoute("GET", "/vagent/instance/*", self.read),
            ApiRoute("PUT", "/vagent/instance/*", self.write),
            ApiRoute("DELETE", "/vagent/instance/*", self.delete),
        )

    async def list_services(self, _request: ConfigApiRequest) -> ConfigApiReply:
        """The table in force, with the health of each service's fabric endpoints, and
        the entries that are not in force, with the reason.
        """
        table = self._services()
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
            {"services": services, "endpoints": endpoints, "left_out": left_out}
        )

    async def list_instances(self, _request: ConfigApiRequest) -> ConfigApiReply:
        """All instances, each with its UUID, in order of UUID."""
        entries = await self._store.entries(INSTANCE)
        items = [{"uuid": entry.id, "instance": entry.value} for entry in entries]
        return json_reply({"instances": items})

    async def read(self, _request: ConfigApiRequest, uuid: str) -> ConfigApiReply:
        """One instance and, as ETag, its revision."""
        wanted = parse_uuid(uuid)
        entry = await self._store.get(INSTANCE, wanted)
        if entry is None:
            raise _missing(wanted)
        return json_reply(entry.value, revision=entry.revision)

    async def write(self, request: ConfigApiRequest, uuid: str) -> ConfigApiReply:
        """Create or replace; If-Match and If-None-Match are honoured (412)."""
        wanted = parse_uuid(uuid)
        expected = expected_revision(request)
        value = json_object(request.body)
        try:
            self._check_instance(value)
        except WireError as error:
            raise RefusedError(400, f"instance {wanted}: {error}") from None
        _check_name(value, wanted)
        if request.if_match is not None and expected is None:
            await self.read(request, wanted)
        entry = await self._store.put(INSTANCE, wanted, value, expected=expected)
        return json_reply({"uuid": wanted}, revision=entry.revision)

    async def delete(self, _request: ConfigApiRequest, uuid: str) -> ConfigApiReply:
        """Delete an instance and what its guest stored under its UUID (its password);
        404 if there is no such instance.
        """
        wanted = parse_uuid(uuid)
        if not await self._store.delete(INSTANCE, wanted, also=self._companions):
            raise _missing(wanted)
        return json_reply({"uuid": wanted})


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


def _check_name(value: dict[str, Any], wanted: str) -> None:
    """Refuse a document that names another UUID: no guest would ever find it."""
    named = value.get("uuid", wanted)
    if not isinstance(named, str) or parse_uuid(named) != wanted:
        raise RefusedError(
            400, f"instance {wanted}: uuid: the document is for another instance"
        )


def _missing(uuid: str) -> RefusedError:
    return RefusedError(404, f"No {INSTANCE} object found for id {uuid}")
