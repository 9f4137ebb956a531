"""What operators' sites report of their callers. Never a body, a query or a token."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.observe.event import Event, Metric

_SHOWN = 120
"""Characters of a path in a line."""


class OperatorEvent(Event):
    """Base of what appears in the trace buffer `Operators`."""

    __slots__ = ()
    buffer = "Operators"
    sandesh = "OperatorTrace"


@dataclass(slots=True)
class OperatorChange(OperatorEvent):
    """Somebody changed something by an operator's API, tried to, or read a guest's user
    data. `caller` says who, as far as it is known.
    """

    level = "info"
    site: str
    method: str
    path: str
    status: int
    caller: str

    def text(self) -> str:
        """One line; method and path are the client's, so they are escaped."""
        asked = f"{ascii(self.method[:16])[1:-1]} {ascii(self.path[:_SHOWN])[1:-1]}"
        return f"{self.site}: {asked} : {self.status} for {self.caller}"

    def is_fault(self) -> bool:
        """Where it was refused or failed."""
        return self.status >= 400


@dataclass(slots=True)
class CallerRefused(OperatorEvent):
    """A request to an operator's API was refused because of who sent it. It is not
    logged, so that whom it refuses cannot fill the log.
    """

    counter = Metric(
        "operator_callers_refused_total",
        "Requests to the port API, the config API and introspection that were refused "
        "because of who sent them, by reason: user or token.",
    )
    site: str
    reason: str
    caller: str

    def label(self) -> str:
        """`user` or `token`."""
        return self.reason

    def text(self) -> str:
        """Which site, why and who."""
        return f"{self.site}: refused, wrong {self.reason} : {self.caller}"

    def is_fault(self) -> bool:
        """Somebody wanted what they may not."""
        return True


@dataclass(slots=True)
class SocketNotShared(OperatorEvent):
    """A Unix socket could not be given to the group; root alone can use it."""

    level = "warn"
    path: str
    group: str
    detail: str

    def text(self) -> str:
        """Which socket, and why."""
        return (
            f"{self.path} is for root alone, not for the group {self.group}: "
            f"{self.detail}"
        )
