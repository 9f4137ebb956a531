"""What the data path reports, and what the events of its rooms have in common."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from vagent.observe.event import Event, Metric
from vagent.ports.port import Registration


class DataPathEvent(Event):
    """Base of what appears in the trace buffer `DataPath`: rules, interfaces, ports."""

    __slots__ = ()
    buffer = "DataPath"
    sandesh = "DataPathTrace"


class FlowEvent(Event):
    """Base of what appears in the trace buffer `LinkLocalFlow`: flows of guests."""

    __slots__ = ()
    buffer = "LinkLocalFlow"
    sandesh = "LinkLocalFlowTrace"


def port_facts(guest: Registration | None) -> dict[str, str]:
    """The facts about a guest that every event of a guest has; "" for no known one."""
    if guest is None:
        return {"port_id": "", "tap": ""}
    return {"port_id": guest.port.id, "tap": guest.port.tap}


def host_port(address: IPv4Address | IPv6Address, port: int) -> str:
    """An address and a port as `address:port`, an IPv6 address in brackets."""
    shown = str(address) if address.version == 4 else f"[{address}]"
    return f"{shown}:{port}"


@dataclass(slots=True)
class Ipv6Missing(DataPathEvent):
    """This host cannot carry IPv6; services are served over IPv4 alone."""

    counter = Metric(
        "datapath_ipv6_missing_total",
        "Starts on a host that cannot carry IPv6, so that services are offered over "
        "IPv4 alone.",
    )
    level = "warn"
    detail: str

    def text(self) -> str:
        return f"IPv6 is not served, IPv4 is: {self.detail}"


@dataclass(slots=True)
class AgesMissing(DataPathEvent):
    """This kernel has no conntrack time-out policies for single flows."""

    counter = Metric(
        "datapath_ages_missing_total",
        "Starts on a kernel without conntrack time-out policies, so that flows of "
        "guests time out as the host's own do.",
    )
    level = "warn"

    def text(self) -> str:
        return (
            "flows of guests age as the host's own do (net.netfilter.nf_conntrack_*):"
            " this kernel has no conntrack time-out policies"
        )


@dataclass(slots=True)
class GuardStays(DataPathEvent):
    """The agent stops and leaves its rules in force, for so many registered ports."""

    counter = Metric(
        "datapath_guards_left_total",
        "Stops after which the rules stayed in force to guard the registered ports.",
    )
    level = "info"
    ports: int

    def text(self) -> str:
        return (
            f"rules and interfaces stay and guard {self.ports} ports until the next"
            " start; vagentctl data-path remove takes them away"
        )


@dataclass(slots=True)
class PortState(DataPathEvent):
    """A port was attached to its tap, or waits for something: `state` says which.
    `is_there`: the tap is there.
    """

    counter = Metric(
        "datapath_port_changes_total",
        "Times that a port was attached to its tap, or could not be and waits.",
    )
    port_id: str
    tap: str
    state: str
    is_there: bool

    def text(self) -> str:
        return f"port {self.port_id} tap {self.tap}: {self.state}"


@dataclass(slots=True)
class CountFailed(DataPathEvent):
    """The kernel's counters or flows could not be read; the last numbers stay."""

    counter = Metric(
        "datapath_count_failures_total",
        "Times that the kernel's packet counters or flows could not be read. The last "
        "numbers stay.",
    )
    level = "warn"
    detail: str

    def text(self) -> str:
        return f"kernel counters not read: {self.detail}"
