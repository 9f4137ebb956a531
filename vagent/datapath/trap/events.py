"""What is reported of trapped packets: those that open a flow of a guest."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from vagent.datapath.events import FlowEvent, host_port, port_facts
from vagent.datapath.trap.decide import Reason, Verdict
from vagent.kernel.ip_packet import OpeningPacket
from vagent.observe.event import Event, Metric
from vagent.ports.port import Registration

_LET_IN = (Reason.METADATA, Reason.SERVICE)


@dataclass(slots=True)
class FlowDecided(FlowEvent):
    """A packet that opens a flow got its verdict.

    `guest` is the port that sent it, None where none is registered for its source.
    """

    counter = Metric(
        "datapath_verdicts_total",
        "Packets that open a flow and got a verdict, by its reason.",
    )
    packet: OpeningPacket
    verdict: Verdict
    guest: Registration | None

    def label(self) -> str:
        """The reason for the verdict, one of a closed set."""
        return self.verdict.reason

    def text(self) -> str:
        """The flow above the tap, so its source is the guest's identity."""
        packet, verdict = self.packet, self.verdict
        source = host_port(_address(packet, packet.source), packet.source_port)
        destination = host_port(
            _address(packet, packet.destination), packet.destination_port
        )
        return (
            f"{source} -> {destination} protocol {packet.protocol}:"
            f" {verdict.reason.value} {verdict.service} endpoint {verdict.endpoint}"
        )

    def facts(self) -> dict[str, Any]:
        """The flow, the verdict and the guest's port. `protocol` is IP's number,
        `endpoint_number` what the mark says (0: dropped).
        """
        packet, verdict = self.packet, self.verdict
        return {
            **port_facts(self.guest),
            "guest_address": self._guest_address(),
            "protocol": packet.protocol,
            "source": _address(packet, packet.source),
            "source_port": packet.source_port,
            "destination": _address(packet, packet.destination),
            "destination_port": packet.destination_port,
            "reason": verdict.reason,
            "service": verdict.service,
            "endpoint_number": verdict.endpoint,
        }

    def is_fault(self) -> bool:
        """True unless the verdict lets the flow in."""
        return self.verdict.reason not in _LET_IN

    def _guest_address(self) -> str:
        """The address that the guest itself uses, "" where it is not known."""
        packet = self.packet
        if self.guest is None:
            return ""
        source = str(_address(packet, packet.source))
        return str(self.guest.address_behind(source) or "")


def _address(packet: OpeningPacket, number: int) -> IPv4Address | IPv6Address:
    return IPv4Address(number) if packet.version == 4 else IPv6Address(number)


@dataclass(slots=True)
class PacketMalformed(FlowEvent):
    """A trapped packet was dropped because a length in its headers does not hold."""

    counter = Metric(
        "datapath_malformed_total",
        "Trapped packets that were dropped because a length in their headers does not "
        "hold.",
    )
    detail: str

    def text(self) -> str:
        return f"malformed packet dropped: {self.detail}"

    def is_fault(self) -> bool:
        """True: the packet is malformed."""
        return True


@dataclass(slots=True)
class QueueOverrun(Event):
    """The kernel dropped queued packets because the agent was too slow (ENOBUFS)."""

    counter = Metric(
        "datapath_queue_overruns_total",
        "Times that the kernel dropped packets that open flows because the agent was "
        "too slow to read them (ENOBUFS).",
    )


@dataclass(slots=True)
class RejectNotSent(Event):
    """A datagram was refused without the ICMP error that its guest should get."""

    counter = Metric(
        "datapath_untold_total",
        "Datagrams that were refused without an ICMP error to their guest, because of "
        "the rate limit of such errors or because sending it failed.",
    )
    detail: str


@dataclass(slots=True)
class VerdictFailed(Event):
    """A packet was dropped because of a fault in the agent while it decided."""

    counter = Metric(
        "datapath_verdict_failures_total",
        "Packets that were dropped because of a fault in the agent.",
    )
    level = "error"
    detail: str

    def text(self) -> str:
        return f"verdict failed, packet dropped: {self.detail}"
