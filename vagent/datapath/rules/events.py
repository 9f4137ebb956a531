"""What is told of the rules in the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vagent.observe.event import Event


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
