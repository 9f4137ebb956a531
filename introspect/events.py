"""What introspection reports about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vagent.observe.event import Event


@dataclass(slots=True)
class PageRefused(Event):
    """Introspection requests that were refused, by reason."""

    reason: str

    counter: ClassVar[str | None] = "introspect_refusals_total"

    def label(self) -> str:
        """`method`, `host`, `origin`, `body`, `browser` or `query`."""
        return self.reason


@dataclass(slots=True)
class PageFailed(Event):
    """Introspection pages that could not be made."""

    path: str
    what: str

    counter: ClassVar[str | None] = "introspect_failures_total"
    buffer: ClassVar[str | None] = "Agent"
    sandesh: ClassVar[str] = "AgentTrace"
    level: ClassVar[str | None] = "error"

    def text(self) -> str:
        """The path and the failure."""
        return f"Page {self.path[:200]} failed: {self.what}"
