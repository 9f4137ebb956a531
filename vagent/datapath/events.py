"""What the data path reports."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar

from vagent.datapath.decide import Verdict
from vagent.datapath.fast_path_program import Match
from vagent.datapath.packet import OpeningPacket
from vagent.observe.event import Event


def _shown(version: int, address: int) -> str:
    return str(IPv4Address(address)) if version == 4 else f"[{IPv6Address(address)}]"


@dataclass(slots=True)
class FlowDecided(Event):
    """A packet that opens a flow got its verdict."""

    counter: ClassVar[str | None] = "datapath_verdicts_total"
    buffer: ClassVar[str | None] = "LinkLocalFlow"
    sandesh: ClassVar[str] = "LinkLocalFlowTrace"

    packet: OpeningPacket
    verdict: Verdict

    def label(self) -> str:
        return self.verdict.reason

    def text(self) -> str:
        packet, verdict = self.packet, self.verdict
        return (
            f"{_shown(packet.version, packet.source)}:{packet.source_port}"
            f" -> {_shown(packet.version, packet.destination)}"
            f":{packet.destination_port}"
            f" protocol {packet.protocol}: {verdict.reason.value}"
            f" {verdict.service} endpoint {verdict.endpoint}"
        )


@dataclass(slots=True)
class EndpointChanged(Event):
    """A fabric endpoint is down for all guests, or is used again.

    Counted by `health` (`vagent.datapath.liveness.Health`); `protocol` is TCP or UDP.
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
class EndpointSuspected(Event):
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


@dataclass(slots=True)
class PacketMalformed(Event):
    """A trapped packet whose lengths do not hold was dropped."""

    counter: ClassVar[str | None] = "datapath_malformed_total"
    buffer: ClassVar[str | None] = "LinkLocalFlow"
    sandesh: ClassVar[str] = "LinkLocalFlowTrace"

    why: str

    def text(self) -> str:
        return f"malformed packet dropped: {self.why}"


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
class FastPathMissing(Event):
    """This host cannot carry flows on the fast path; all go the usual way."""

    counter: ClassVar[str | None] = "datapath_fast_path_missing_total"
    buffer: ClassVar[str | None] = "DataPath"
    sandesh: ClassVar[str] = "DataPathTrace"
    level: ClassVar[str | None] = "warn"

    why: str

    def text(self) -> str:
        return f"fast path is not in use, flows go the usual way: {self.why}"


@dataclass(slots=True)
class FastPathTapLeftOut(Event):
    """Flows of one tap go the usual way. Told by the tap's interface alone."""

    counter: ClassVar[str | None] = "datapath_fast_path_left_out_total"
    buffer: ClassVar[str | None] = "DataPath"
    sandesh: ClassVar[str] = "DataPathTrace"
    level: ClassVar[str | None] = "warn"

    why: str

    def text(self) -> str:
        return f"fast path not at a tap: {self.why}"


@dataclass(slots=True)
class FastPathFlow(Event):
    """A flow was taken onto the fast path, was not, or left it; it goes on.

    Not logged: a guest can provoke it. `outcome` is `vagent.datapath.fast_path`'s.
    """

    counter: ClassVar[str | None] = "datapath_fast_path_flows_total"
    buffer: ClassVar[str | None] = "LinkLocalFlow"
    sandesh: ClassVar[str] = "LinkLocalFlowTrace"

    outcome: str
    match: Match
    why: str

    def label(self) -> str:
        return self.outcome

    def text(self) -> str:
        pair = self.match.pair
        said = (
            f"{pair.source}:{pair.source_port} -> {pair.destination}"
            f":{pair.destination_port} protocol {self.match.protocol}"
            f" fast path: {self.outcome}"
        )
        return f"{said} ({self.why})" if self.why else said


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
class QueueOverrun(Event):
    """The kernel dropped queued packets because the agent was too slow (ENOBUFS)."""

    counter: ClassVar[str | None] = "datapath_queue_overruns_total"


@dataclass(slots=True)
class KernelRefused(Event):
    """Our own rules dropped or refused packets without asking the agent. Not counted
    here: the packets are gauges of their own.
    """

    buffer: ClassVar[str | None] = "LinkLocalFlow"
    sandesh: ClassVar[str] = "LinkLocalFlowTrace"

    rule: str
    packets: int
    seconds: float

    def text(self) -> str:
        return (
            f"{self.packets} packets refused by the kernel in {self.seconds:g} s:"
            f" {self.rule}"
        )


@dataclass(slots=True)
class NotTold(Event):
    """A guest could not be told that its datagram was refused."""

    counter: ClassVar[str | None] = "datapath_untold_total"

    why: str


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


@dataclass(slots=True)
class VerdictFailed(Event):
    """Our own fault while judging a packet; the packet was dropped."""

    counter: ClassVar[str | None] = "datapath_verdict_failures_total"
    level: ClassVar[str | None] = "error"

    why: str

    def text(self) -> str:
        return f"verdict failed, packet dropped: {self.why}"


@dataclass(slots=True)
class RulesApplied(Event):
    """A transaction reached the kernel."""

    counter: ClassVar[str | None] = "datapath_transactions_total"
    buffer: ClassVar[str | None] = "DataPath"
    sandesh: ClassVar[str] = "DataPathTrace"

    what: str
    seconds: float

    def text(self) -> str:
        return f"{self.what} in {self.seconds * 1000:.1f} ms"


@dataclass(slots=True)
class RulesRefused(Event):
    """The kernel refused a transaction; the state before it is still in force."""

    counter: ClassVar[str | None] = "datapath_transaction_failures_total"
    buffer: ClassVar[str | None] = "DataPath"
    sandesh: ClassVar[str] = "DataPathTrace"
    level: ClassVar[str | None] = "error"

    why: str
    retry_after: float

    def text(self) -> str:
        return (
            f"kernel rules not changed: {self.why}; the whole state is tried again"
            f" in {self.retry_after:g} s"
        )


@dataclass(slots=True)
class RulesLost(Event):
    """Somebody else took our tables out of the kernel, such as `nft flush ruleset`."""

    counter: ClassVar[str | None] = "datapath_rules_lost_total"
    buffer: ClassVar[str | None] = "DataPath"
    sandesh: ClassVar[str] = "DataPathTrace"
    level: ClassVar[str | None] = "error"

    def text(self) -> str:
        return (
            "our nftables tables are gone from the kernel: somebody else took them"
            " away; they are put back now"
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
