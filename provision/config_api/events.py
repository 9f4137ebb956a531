"""What the config API reports. Never a body: instances hold secrets."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.observe.event import Event, Metric

_SHOWN = 120
"""Characters of a path in a trace line."""


class ConfigApiEvent(Event):
    """Base of what appears in the trace buffer `ConfigApi`."""

    __slots__ = ()
    buffer = "ConfigApi"
    sandesh = "ConfigApiTrace"


@dataclass(slots=True)
class ApiAnswered(ConfigApiEvent):
    """A call of the config API was answered."""

    counter = Metric(
        "config_api_requests_total",
        "Calls of the config API, by the status of the answer.",
    )
    method: str
    path: str
    status: int

    def label(self) -> str:
        """The HTTP status; the server uses about ten."""
        return str(self.status)

    def text(self) -> str:
        """One line for the trace; the path is the client's, so it is escaped."""
        method = ascii(self.method[:16])[1:-1]
        return f"{method} {ascii(self.path[:_SHOWN])[1:-1]} {self.status}"

    def is_fault(self) -> bool:
        """True where the request was refused or failed."""
        return self.status >= 400


@dataclass(slots=True)
class ApiFailed(ConfigApiEvent):
    """A call met a fault of ours; the client got 500, the log has the traceback.

    `error` is the type of the exception.
    """

    counter = Metric(
        "config_api_faults_total",
        "Calls of the config API that were answered with 500 because of a fault in the "
        "agent.",
    )
    level = "error"
    error: str

    def text(self) -> str:
        """One line for the trace and the log."""
        return f"A call of the config API failed: {self.error}"
