"""What is told of trapped packets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vagent.datapath.state import _shown
from vagent.datapath.trap.decide import Verdict
from vagent.kernel.ip_packet import OpeningPacket
from vagent.observe.event import Event
from vagent.ports.port import Registration


@dataclass(slots=True)
class FlowDecided(Event):
    """A packet that opens a flow got its verdict."""

    counter: ClassVar[str | None] = "datapath_verdicts_total"
    buffer: ClassVar[str | None] = "LinkLocalFlow"
    sandesh: ClassVar[str] = "LinkLocalFlowTrace"

    packet: OpeningPacket
    verdict: Verdict
    guest: Registration | None

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
class PacketMalformed(Event):
    """A trapped packet whose lengths do not hold was dropped."""

    counter: ClassVar[str | None] = "datapath_malformed_total"
    buffer: ClassVar[str | None] = "LinkLocalFlow"
    sandesh: ClassVar[str] = "LinkLocalFlowTrace"

    why: str

    def text(self) -> str:
        return f"malformed packet dropped: {self.why}"


@dataclass(slots=True)
class QueueOverrun(Event):
    """The kernel dropped queued packets because the agent was too slow (ENOBUFS)."""

    counter: ClassVar[str | None] = "datapath_queue_overruns_total"


@dataclass(slots=True)
class NotTold(Event):
    """A guest could not be told that its datagram was refused."""

    counter: ClassVar[str | None] = "datapath_untold_total"

    why: str


@dataclass(slots=True)
class VerdictFailed(Event):
    """Our own fault while judging a packet; the packet was dropped."""

    counter: ClassVar[str | None] = "datapath_verdict_failures_total"
    level: ClassVar[str | None] = "error"

    why: str

    def text(self) -> str:
        return f"verdict failed, packet dropped: {self.why}"
