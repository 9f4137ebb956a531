"""What the data path reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vagent.observe.event import Event


@dataclass(slots=True)
class Ipv6Missing(Event):
    """This host cannot carry IPv6; services are served over IPv4 alone."""

    counter: ClassVar[str | None] = "datapath_ipv6_missing_total"
    buffer: ClassVar[str | None] = "DataPath"
    sandesh: ClassVar[str] = "DataPathTrace"
    level: ClassVar[str | None] = "warn"

    why: str

    def text(self) -> str:
        return f"IPv6 is not served, IPv4 is: {self.why}"


@dataclass(slots=True)
class VlanMissing(Event):
    """This host cannot tag replies; ports with a VLAN are not served."""

    counter: ClassVar[str | None] = "datapath_vlan_missing_total"
    buffer: ClassVar[str | None] = "DataPath"
    sandesh: ClassVar[str] = "DataPathTrace"

    why: str

    def text(self) -> str:
        return f"Ports with a VLAN are not served: {self.why}"


@dataclass(slots=True)
class AgesMissing(Event):
    """This kernel has no time-out policies for single flows."""

    counter: ClassVar[str | None] = "datapath_ages_missing_total"
    buffer: ClassVar[str | None] = "DataPath"
    sandesh: ClassVar[str] = "DataPathTrace"
    level: ClassVar[str | None] = "warn"

    def text(self) -> str:
        return (
            "flows of guests age as the host's own do (net.netfilter.nf_conntrack_*):"
            " this kernel has no conntrack time-out policies"
        )


@dataclass(slots=True)
class GuardStays(Event):
    """The agent stops and leaves its rules in force for the ports registered."""

    counter: ClassVar[str | None] = "datapath_guards_left_total"
    buffer: ClassVar[str | None] = "DataPath"
    sandesh: ClassVar[str] = "DataPathTrace"
    level: ClassVar[str | None] = "info"

    ports: int

    def text(self) -> str:
        return (
            f"rules and interfaces stay and guard {self.ports} ports until the next"
            " start; vagentctl data-path remove takes them away"
        )


@dataclass(slots=True)
class PortState(Event):
    """A port was attached, or waits for something."""

    counter: ClassVar[str | None] = "datapath_port_changes_total"
    buffer: ClassVar[str | None] = "DataPath"
    sandesh: ClassVar[str] = "DataPathTrace"

    port_id: str
    tap: str
    state: str

    def text(self) -> str:
        return f"port {self.port_id} tap {self.tap}: {self.state}"


@dataclass(slots=True)
class CountFailed(Event):
    """The kernel's counters or flows could not be read; the last picture stays."""

    counter: ClassVar[str | None] = "datapath_count_failures_total"
    buffer: ClassVar[str | None] = "DataPath"
    sandesh: ClassVar[str] = "DataPathTrace"
    level: ClassVar[str | None] = "warn"

    why: str

    def text(self) -> str:
        return f"kernel counters not read: {self.why}"
