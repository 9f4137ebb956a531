"""What introspection reports about itself."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.observe.event import Event, Metric


@dataclass(slots=True)
class PageRefused(Event):
    """A request to the introspection port was refused. Counted only."""

    counter = Metric(
        "introspect_refusals_total",
        "Requests to the introspection port that were refused, by reason: method, "
        "host, browser or query.",
    )
    reason: str

    def label(self) -> str:
        """`method`, `host`, `origin`, `body`, `browser` or `query`."""
        return self.reason


@dataclass(slots=True)
class PageFailed(Event):
    """A page could not be made because of a fault in the agent; the client got 500."""

    counter = Metric(
        "introspect_failures_total",
        "Introspection pages that were answered with 500 because of a fault in the "
        "agent.",
    )
    buffer = "Agent"
    sandesh = "AgentTrace"
    level = "error"
    path: str
    error: str

    def text(self) -> str:
        """The path and the failure."""
        return f"Page {self.path[:200]} failed: {self.error}"
