"""What is reported of the rules in the kernel."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.datapath.events import DataPathEvent, FlowEvent
from vagent.observe.event import Metric


@dataclass(slots=True)
class KernelRefused(FlowEvent):
    """Our rules dropped or refused packets without asking the agent.

    `seconds` is the interval in which the packets were counted. Not counted here: each
    counter of the kernel is a gauge of its own.
    """

    rule: str
    packets: int
    seconds: float

    def text(self) -> str:
        return (
            f"{self.packets} packets refused by the kernel in {self.seconds:g} s:"
            f" {self.rule}"
        )

    def is_fault(self) -> bool:
        """True: the kernel refused packets that nobody should have sent."""
        return True


@dataclass(slots=True)
class RulesApplied(DataPathEvent):
    """The kernel took a transaction of rules; `change` says what was in it."""

    counter = Metric(
        "datapath_transactions_total",
        "Transactions of nftables rules that the kernel took.",
    )
    change: str
    seconds: float

    def text(self) -> str:
        return f"{self.change} in {self.seconds * 1000:.1f} ms"


@dataclass(slots=True)
class RulesRefused(DataPathEvent):
    """The kernel refused a transaction; the rules before it are still in force.

    `retry_seconds`: how long until the whole state is written again.
    """

    counter = Metric(
        "datapath_transaction_failures_total",
        "Transactions of nftables rules that the kernel refused. The rules before "
        "them stay in force.",
    )
    level = "error"
    detail: str
    retry_seconds: float

    def text(self) -> str:
        return (
            f"kernel rules not changed: {self.detail}; the whole state is tried again"
            f" in {self.retry_seconds:g} s"
        )


@dataclass(slots=True)
class FlowsNotEnded(DataPathEvent):
    """The kernel did not end the flows of a port or an endpoint that went.

    `retry_seconds`: how long until it is asked again.
    """

    counter = Metric(
        "datapath_flow_end_failures_total",
        "Times that the kernel did not end the flows of a port or of an endpoint that "
        "went. It is asked again until it has.",
    )
    level = "error"
    detail: str
    retry_seconds: float

    def text(self) -> str:
        return (
            f"flows of what went are not ended: {self.detail}; tried again"
            f" in {self.retry_seconds:g} s"
        )


@dataclass(slots=True)
class RulesLost(DataPathEvent):
    """Somebody else took rules of ours out of the kernel, as `nft flush ruleset` does,
    or out of force, as a dormant table is; `detail` says which.
    """

    counter = Metric(
        "datapath_rules_lost_total",
        "Times that nftables tables, rules or elements of ours were found gone from "
        "the kernel or changed, as after nft flush ruleset. They were put back.",
    )
    level = "error"
    detail: str

    def text(self) -> str:
        return (
            f"rules of ours are gone from the kernel or changed: {self.detail};"
            " somebody else took them away or changed them; they are put back now"
        )


@dataclass(slots=True)
class RulesUnread(DataPathEvent):
    """The kernel did not tell which of our rules it holds."""

    counter = Metric(
        "datapath_rules_unread_total",
        "Times that the kernel began to refuse to tell which of our rules it holds. It "
        "is asked again each second.",
    )
    level = "warn"
    detail: str

    def text(self) -> str:
        return f"the kernel does not tell which rules it holds: {self.detail}"
