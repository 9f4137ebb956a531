"""What operators and their tools reach: port API, config API and introspection."""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from typing import Any

from introspect.server import introspect_site
from introspect.sources import Sources
from provision.config_api.server import config_api_site
from vagent.config.model import AgentConfig
from vagent.datapath.datapath import DataPath
from vagent.linklocal.table import ServiceTable
from vagent.listeners import Listeners
from vagent.nova.embedded import EmbeddedServer
from vagent.observe.event import Emit
from vagent.ports.registrar import Registrar
from vagent.ports.server import port_api_site
from vagent.store.store import ConfigStore


def listen_for_operators(
    listeners: Listeners,
    config: AgentConfig,
    *,
    names: Container[str],
    registrar: Registrar,
    store: ConfigStore,
    services: Callable[[], ServiceTable],
    data_path: DataPath,
    sources: Sources,
    embedded: EmbeddedServer,
    emit: Emit,
    reactor: Any,
) -> None:
    """Open the three sites where agent.conf wants them. Raises KernelError.

    `names` are the host names by which operators may call them.
    """
    listeners.listen(
        config.port_api,
        port_api_site(
            registrar,
            names=names,
            emit=emit,
            clock=reactor,
            now=time.time,  # noqa: TID251  shown as a date
            state_of=data_path.state,
        ),
        "port API",
    )
    listeners.listen(
        config.config_api,
        config_api_site(
            store,
            names=names,
            emit=emit,
            clock=reactor,
            services=services,
            embedded=embedded,
            endpoints_of=data_path.endpoints_of,
        ),
        "config API",
    )
    listeners.listen(
        config.introspect,
        introspect_site(
            sources,
            names=names,
            emit=emit,
            clock=reactor,
            now=time.time,  # noqa: TID251  shown as a date
        ),
        "introspection",
    )
