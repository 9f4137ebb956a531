"""What operators and their tools reach: port API, config API and introspection."""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from typing import Any

from introspect.server import introspect_site
from introspect.sources import Sources
from provision.config_api.server import config_api_site
from vagent.config.model import AgentConfig, OperatorApi
from vagent.datapath.datapath import DataPath
from vagent.in_force import ServicesInForce
from vagent.kernel.sock_diag import socket_owner
from vagent.linklocal.own_servers import OwnServers
from vagent.linklocal.table import ServiceTable
from vagent.listeners import Listeners
from vagent.nova.embedded import EmbeddedServer
from vagent.observe.event import Emit
from vagent.ports.api import RefusalsOf
from vagent.ports.registrar import Registrar
from vagent.ports.server import port_api_site
from vagent.store.store import ConfigStore
from vagent.web.caller import GROUP, Operators, group_id
from vagent.web.events import SocketNotShared
from vagent.web.gate import Gate
from vagent.web.site import OperatorSite
from vagent.web.unix_socket import CONFIG_API, INTROSPECT, PORT_API


def listen_for_operators(
    listeners: Listeners,
    config: AgentConfig,
    *,
    names: Container[str],
    registrar: Registrar,
    store: ConfigStore,
    services: Callable[[], ServiceTable],
    data_path: DataPath,
    refusals_of: RefusalsOf,
    in_force: ServicesInForce,
    own: OwnServers,
    sources: Sources,
    embedded: EmbeddedServer,
    emit: Emit,
    reactor: Any,
) -> None:
    """Open the three sites where agent.conf wants them, each over TCP and as a Unix
    socket in the runtime directory. Raises KernelError.

    `names` are the host names by which operators may call them.
    """
    operators = Operators()

    def gate(api: OperatorApi) -> Gate:
        return Gate(api.access, operators=operators, owner_of=socket_owner)

    def listen(api: OperatorApi, site: OperatorSite, what: str, name: str) -> None:
        listeners.listen(api, site, what)
        path = config.runtime_directory / name
        why = listeners.listen_on_socket(path, site, group_id())
        if why:
            emit(SocketNotShared(str(path), GROUP, why))

    listen(
        config.port_api,
        port_api_site(
            registrar,
            names=names,
            gate=gate(config.port_api),
            emit=emit,
            clock=reactor,
            now=time.time,  # noqa: TID251  shown as a date
            state_of=data_path.state,
            refusals_of=refusals_of,
        ),
        "port API",
        PORT_API,
    )
    listen(
        config.config_api,
        config_api_site(
            store,
            names=names,
            gate=gate(config.config_api),
            emit=emit,
            clock=reactor,
            services=services,
            embedded=embedded,
            endpoints_of=data_path.endpoints_of,
            following=in_force,
            own=own,
        ),
        "config API",
        CONFIG_API,
    )
    listen(
        config.introspect,
        introspect_site(
            sources,
            names=names,
            gate=gate(config.introspect),
            emit=emit,
            clock=reactor,
            now=time.time,  # noqa: TID251  shown as a date
        ),
        "introspection",
        INTROSPECT,
    )
