"""What is told of the endpoints behind the proxy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vagent.metadata.events import LocalAnswer, MetadataEvent, printable
from vagent.observe.event import Event


@dataclass(slots=True)
class ForwardFailed(LocalAnswer):
    """No usable reply came from the upstream; `reason` is of a closed set."""

    reason: str
    detail: str

    def label(self) -> str:
        """Which kind of failure."""
        return self.reason

    def text(self) -> str:
        """Contrail's line."""
        detail = printable(self.detail.encode("ascii", "replace"))
        return f"Metadata for VM : {self.guest} Error : {self.reason}: {detail}"


@dataclass(slots=True)
class UpstreamEndpointFailed(MetadataEvent):
    """An endpoint failed a request. Not logged: guests can provoke it at will."""

    counter: ClassVar[str | None] = "metadata_upstream_suspected_total"
    endpoint: str
    reason: str

    def text(self) -> str:
        """Which endpoint and what happened."""
        return f"Metadata upstream {self.endpoint} failed a request: {self.reason}"


@dataclass(slots=True)
class UpstreamEndpointProbed(Event):
    """A probe of an endpoint is over. Counted only: a change is another event."""

    counter: ClassVar[str | None] = "metadata_upstream_probes_total"
    endpoint: str
    problem: str

    def label(self) -> str:
        """Was it answered?"""
        return "failed" if self.problem else "answered"

    def text(self) -> str:
        """Which endpoint, and what was wrong."""
        return f"Metadata upstream {self.endpoint} probed: {self.problem or 'answered'}"


@dataclass(slots=True)
class UpstreamEndpointChanged(MetadataEvent):
    """An upstream endpoint went down, or came back."""

    counter: ClassVar[str | None] = "metadata_upstream_changes_total"
    level: ClassVar[str | None] = "warn"
    endpoint: str
    state: str
    reason: str

    def label(self) -> str:
        """The new state."""
        return self.state

    def text(self) -> str:
        """Which endpoint, what now, why."""
        return f"Metadata upstream {self.endpoint} is {self.state}: {self.reason}"
