"""What is reported of fabric endpoints: which of them answer."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from vagent.datapath.events import FlowEvent, host_port, port_facts
from vagent.observe.event import Metric
from vagent.ports.port import Registration

UP = "up"
"""The health of an endpoint that is used; the others are `suspect` and `down`."""


@dataclass(slots=True)
class FabricEndpointEvent(FlowEvent):
    """Base: the health of a fabric endpoint changed, for one protocol (TCP or UDP)."""

    address: IPv4Address | IPv6Address
    port: int
    protocol: str
    health: str
    detail: str

    def label(self) -> str:
        """The new health, one of a closed set."""
        return self.health

    def text(self) -> str:
        """Names the endpoint and says its new health and the reason."""
        where = host_port(self.address, self.port)
        return f"endpoint {where} {self.protocol}: {self.health} ({self.detail})"

    def facts(self) -> dict[str, Any]:
        """The fields; `endpoint` is address and port as `address:port`."""
        return {
            "endpoint": host_port(self.address, self.port),
            "protocol": self.protocol,
            "health": self.health,
            "detail": self.detail,
        }

    def is_fault(self) -> bool:
        """True unless the endpoint became healthy again."""
        return self.health != UP


@dataclass(slots=True)
class FabricEndpointChanged(FabricEndpointEvent):
    """A fabric endpoint is down for all guests, or is used again."""

    counter = Metric(
        "datapath_endpoint_changes_total",
        "Times that a fabric endpoint went down for all guests or came back, by its "
        "new health: up, suspect or down.",
    )
    level = "warn"


@dataclass(slots=True)
class FabricEndpointAvoided(FabricEndpointEvent):
    """The flows of one guest avoid a fabric endpoint, or use it again.

    `guest` is the one that got no reply there; None when there is no
    evidence against the endpoint any more. Not logged, because a guest can provoke it.
    """

    counter = Metric(
        "datapath_endpoint_suspicions_total",
        "Times that the flows of one guest began to avoid a fabric endpoint that gave "
        "it no reply, or ceased to, by the endpoint's new health: suspect or up.",
    )
    guest: Registration | None

    def facts(self) -> dict[str, Any]:
        """The endpoint, and the guest's port."""
        return {**FabricEndpointEvent.facts(self), **port_facts(self.guest)}


@dataclass(slots=True)
class FlowNotSeen(FlowEvent):
    """The kernel could not be asked what became of a flow; nothing follows from it."""

    counter = Metric(
        "datapath_flow_looks_failed_total",
        "Times that the kernel could not be asked what became of a flow to a fabric "
        "endpoint.",
    )
    detail: str

    def text(self) -> str:
        return f"a flow could not be looked at: {self.detail}"
