"""The agent of the benchmark: started, pinned, and given a guest and services."""

from __future__ import annotations

import json
from ipaddress import IPv4Address

from bench.scene.stage import TLS_PORT, Contestant, Stage
from bench.scene.usage import pin
from lab.namespaces import LabError
from vagent.config.model import IDENTITY_RANGE

METADATA = "169.254.169.254"
DIRECT = "169.254.169.253"
"""Service address of the listener that the kernel carries flows to by itself."""
DIRECT_PORT = 80
ACCEPTOR_PORT = 18777


def start_agent(stage: Stage) -> Contestant:
    """A running agent that serves the stage's guest."""
    stage.agent.start()
    stage.agent.register(stage.guest)
    provision(stage, "metadata", METADATA, 80, TLS_PORT)
    return Contestant("vagent", f"http://{METADATA}", (pinned(stage),))


def pinned(stage: Stage) -> int:
    """Pin the running agent to the contestants' CPU; its pid. Raises LabError."""
    process = stage.agent.process
    if process is None:
        raise LabError("the agent was not started")
    pin(process.pid, stage.cpus.contestant)
    return process.pid


def provision(
    stage: Stage, name: str, address: str, port: int, fabric_port: int
) -> None:
    """Offer a service of the host's loopback to the guest."""
    offer(stage, name, (address, port), ("127.0.0.1", fabric_port))


def offer(
    stage: Stage, name: str, service: tuple[str, int], fabric: tuple[str, int]
) -> None:
    """Offer what is at an address and port of the fabric, at one of the guest's."""
    stage.agent.tool(
        *("provision.provision_linklocal", "--linklocal_service_name", name),
        *("--linklocal_service_ip", service[0]),
        *("--linklocal_service_port", str(service[1])),
        *("--ipfabric_service_ip", fabric[0]),
        *("--ipfabric_service_port", str(fabric[1])),
    )


def identity_index(stage: Stage) -> int:
    """The number of the guest's identity in its range, which marks its packets."""
    shown = stage.agent.tool(
        "vagent.ctl", "-o", "json", "port", "show", stage.guest.port_id
    )
    identity = IPv4Address(json.loads(shown)["mdata-ip"])
    return int(identity) - int(IDENTITY_RANGE.network_address)
