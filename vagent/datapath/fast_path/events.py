"""What is reported of the fast path: flows that skip the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vagent.datapath.events import DataPathEvent, FlowEvent, port_facts
from vagent.datapath.tap.flow_entry import Match
from vagent.observe.event import Metric
from vagent.ports.port import Registration


@dataclass(slots=True)
class FastPathMissing(DataPathEvent):
    """The fast path cannot be used, or was given up: all flows go through the rules."""

    counter = Metric(
        "datapath_fast_path_missing_total",
        "Times that the fast path could not be used or was given up, so that all flows "
        "go through the rules.",
    )
    level = "warn"
    detail: str

    def text(self) -> str:
        return f"fast path is not in use, flows go the usual way: {self.detail}"


@dataclass(slots=True)
class FastPathFlow(FlowEvent):
    """A flow was taken onto the fast path, was refused there, or left it.

    `outcome` is one of `fast_path.offload.OffloadOutcome`. The flow itself goes on. Not
    logged, because a guest can provoke it.
    """

    counter = Metric(
        "datapath_fast_path_flows_total",
        "Flows that were taken onto the fast path, refused there, or left it, by "
        "outcome. The flows themselves go on.",
    )
    outcome: str
    match: Match
    detail: str
    guest: Registration | None

    def label(self) -> str:
        """The outcome for the flow, one of a closed set."""
        return self.outcome

    def text(self) -> str:
        """The flow as it is at the tap, and what came of it."""
        pair = self.match.pair
        said = (
            f"{pair.source}:{pair.source_port} -> {pair.destination}"
            f":{pair.destination_port} protocol {self.match.protocol}"
            f" fast path: {self.outcome}"
        )
        return f"{said} ({self.detail})" if self.detail else said

    def facts(self) -> dict[str, Any]:
        """The flow as it is at the tap, where its source is the guest's own address."""
        pair = self.match.pair
        return {
            **port_facts(self.guest),
            "guest_address": pair.source,
            "protocol": self.match.protocol,
            "source": pair.source,
            "source_port": pair.source_port,
            "destination": pair.destination,
            "destination_port": pair.destination_port,
            "outcome": self.outcome,
            "detail": self.detail,
        }
