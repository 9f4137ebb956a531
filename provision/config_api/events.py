"""What happens at the config API, as events. Never a body: instances hold secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vagent.observe.event import Event

_SHOWN = 120


@dataclass(slots=True)
class ApiAnswered(Event):
    """A call of the config API was answered."""

    counter: ClassVar[str | None] = "config_api_requests_total"
    buffer: ClassVar[str | None] = "ConfigApi"
    sandesh: ClassVar[str] = "ConfigApiTrace"

    method: str
    path: str
    status: int

    def label(self) -> str:
        """The status: the server gives about ten."""
        return str(self.status)

    def text(self) -> str:
        """One line for the trace; the path is the client's, so it is escaped."""
        method = ascii(self.method[:16])[1:-1]
        return f"{method} {ascii(self.path[:_SHOWN])[1:-1]} {self.status}"


@dataclass(slots=True)
class ApiFailed(Event):
    """A call met a fault of ours; the client got 500, the log has the traceback."""

    counter: ClassVar[str | None] = "config_api_faults_total"
    buffer: ClassVar[str | None] = "ConfigApi"
    sandesh: ClassVar[str] = "ConfigApiTrace"
    level: ClassVar[str | None] = "error"

    kind: str

    def text(self) -> str:
        """One line for the trace and the log."""
        return f"A call of the config API failed: {self.kind}"
