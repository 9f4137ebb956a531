"""What is told of fabric endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar

from vagent.datapath.state import _shown
from vagent.observe.event import Event
from vagent.ports.port import Registration


@dataclass(slots=True)
class FabricEndpointChanged(Event):
    """A fabric endpoint is down for all guests, or is used again.

    Counted by `health` (`endpoints.liveness.Health`); `protocol` is TCP or UDP.
    """

    counter: ClassVar[str | None] = "datapath_endpoint_changes_total"
    buffer: ClassVar[str | None] = "LinkLocalFlow"
    sandesh: ClassVar[str] = "LinkLocalFlowTrace"
    level: ClassVar[str | None] = "warn"

    address: IPv4Address | IPv6Address
    port: int
    protocol: str
    health: str
    why: str

    def label(self) -> str:
        return self.health

    def text(self) -> str:
        where = _shown(self.address.version, int(self.address))
        return (
            f"endpoint {where}:{self.port} {self.protocol}: {self.health} ({self.why})"
        )


@dataclass(slots=True)
class FabricEndpointAvoided(Event):
    """One guest's flows avoid a fabric endpoint, or do so no more.

    Not logged: a guest can provoke it.
    """

    counter: ClassVar[str | None] = "datapath_endpoint_suspicions_total"
    buffer: ClassVar[str | None] = "LinkLocalFlow"
    sandesh: ClassVar[str] = "LinkLocalFlowTrace"

    address: IPv4Address | IPv6Address
    port: int
    protocol: str
    health: str
    why: str
    guest: Registration | None

    def label(self) -> str:
        return self.health

    def text(self) -> str:
        where = _shown(self.address.version, int(self.address))
        return (
            f"endpoint {where}:{self.port} {self.protocol}: {self.health} ({self.why})"
        )


@dataclass(slots=True)
class FlowNotSeen(Event):
    """The kernel could not be asked what became of a flow; it says nothing then."""

    counter: ClassVar[str | None] = "datapath_flow_looks_failed_total"
    buffer: ClassVar[str | None] = "LinkLocalFlow"
    sandesh: ClassVar[str] = "LinkLocalFlowTrace"

    why: str

    def text(self) -> str:
        return f"a flow could not be looked at: {self.why}"
