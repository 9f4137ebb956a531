"""What is told of the fast path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vagent.datapath.fast_path.program import Match
from vagent.observe.event import Event
from vagent.ports.port import Registration


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

    Not logged: a guest can provoke it. `outcome` is one of `fast_path.offload`.
    """

    counter: ClassVar[str | None] = "datapath_fast_path_flows_total"
    buffer: ClassVar[str | None] = "LinkLocalFlow"
    sandesh: ClassVar[str] = "LinkLocalFlowTrace"

    outcome: str
    match: Match
    why: str
    guest: Registration | None

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
