"""Collects all facts, those first that are needed to collect others. Changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from vagent.certificates.per_endpoint import all_files
from vagent.config.model import AgentConfig
from vagent.datapath.fast_path.compose import ingress_hook_of
from vagent.datapath.tap.who.in_front import in_front
from vagent.doctor.check_upstream import role_of
from vagent.doctor.commands import there
from vagent.doctor.facts import (
    Configuration,
    Host,
    HostFacts,
    Ours,
    PortFact,
    TlsPair,
    UpstreamTrial,
)
from vagent.doctor.look_agent import Apis, look_at_access, look_at_agent
from vagent.doctor.look_host import look_at_host
from vagent.doctor.tls import inspect, question_for, try_upstream
from vagent.doctor.trials import try_kernel
from vagent.linklocal.service import LinkLocalService
from vagent.metadata.upstream.target import target_of
from vagent.ports.contrail_folder import ContrailFolder
from vagent.ports.contrail_folder import look as folder_at

UPSTREAM_DEADLINE = 4.0
"""Seconds that an endpoint has to accept a connection, and again to answer."""


Family = TypeVar("Family", IPv4Address, IPv6Address)


def look(
    apis: Apis, config: AgentConfig, configuration: Configuration, now: datetime
) -> HostFacts:
    """All facts, if agent.conf has no errors."""
    agent = look_at_agent(apis, config, configuration.path)
    services = agent.services or ()
    ours = Ours.of(config)
    return HostFacts(
        now=now,
        ours=ours,
        configuration=configuration,
        host=look_at_host(
            ours, _fabric(services, IPv4Address), _fabric(services, IPv6Address)
        ),
        agent=agent,
        access=look_at_access(config),
        contrail=_contrail(config),
        in_front=in_front(
            partial(ingress_hook_of, config.data_path),
            config.data_path.name,
            [port.tap for port in agent.ports or ()],
        ),
        tls=tuple(_pairs(config)),
        upstream=_upstream(services, config, agent.ports or ()),
    )


def look_without_config(configuration: Configuration, now: datetime) -> HostFacts:
    """The facts that do not depend on agent.conf, if it has errors."""
    ours = Ours.of(AgentConfig())
    tools = {name: there(name) for name in ("nft", "ip")}
    trials = tuple(try_kernel(ours.queue_number)) if tools["nft"] else ()
    return HostFacts(now, ours, configuration, Host(tools=tools, trials=trials))


def _contrail(config: AgentConfig) -> ContrailFolder | None:
    """The folder of Contrail's port files, if it is one of this agent's."""
    path = config.contrail_ports
    return None if path is None else folder_at(path, config.state_directory / "ports")


def _fabric(
    services: Iterable[LinkLocalService], family: type[Family]
) -> tuple[Family, ...]:
    """The endpoints of services that have addresses of one family, each once."""
    return tuple(
        dict.fromkeys(
            address
            for service in services
            if not service.is_metadata
            for address in service.fabric_addresses
            if isinstance(address, family)
        )
    )


def _pairs(config: AgentConfig) -> Iterator[TlsPair]:
    tls = config.metadata_proxy.tls
    for endpoint, files in all_files(tls) if tls else ():
        yield inspect(
            role_of(endpoint), files.client_cert, files.client_key, files.ca_cert
        )
    server = config.metadata_server
    if server and server.server_cert and server.server_key and server.client_ca:
        yield inspect(
            "metadata server", server.server_cert, server.server_key, server.client_ca
        )


def _upstream(
    services: Iterable[LinkLocalService],
    config: AgentConfig,
    ports: Iterable[PortFact],
) -> tuple[UpstreamTrial, ...]:
    metadata = next((service for service in services if service.is_metadata), None)
    if metadata is None:
        return ()
    target = target_of(metadata)
    proxy = config.metadata_proxy
    question = question_for(proxy.shared_secret, ports)
    return try_upstream(target, proxy.tls, UPSTREAM_DEADLINE, question)
