"""What the ports room reports. Knows no counter object, log or page: values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vagent.observe.event import Event

BUFFER = "Ports"
"""Sandesh trace buffer of this room."""


class PortEvent(Event):
    """What every event of this room shares: the trace buffer and its Sandesh type."""

    __slots__ = ()

    buffer: ClassVar[str | None] = BUFFER
    sandesh: ClassVar[str] = "PortTrace"


@dataclass(slots=True)
class PortRegistered(PortEvent):
    """A port is new, or replaced one of the same id by something different."""

    counter: ClassVar[str | None] = "ports_registered_total"
    level: ClassVar[str | None] = "info"

    port_id: str
    tap: str
    identity: str
    replaced: bool

    def text(self) -> str:
        """Says which port has which identity now."""
        verb = "replaced" if self.replaced else "added"
        return f"Port {self.port_id} {verb} : tap {self.tap} identity {self.identity}"


@dataclass(slots=True)
class PortRemoved(PortEvent):
    """A port is gone and its identity is free."""

    counter: ClassVar[str | None] = "ports_removed_total"
    level: ClassVar[str | None] = "info"

    port_id: str
    tap: str
    identity: str

    def text(self) -> str:
        """Says which identity became free."""
        return f"Port {self.port_id} removed : tap {self.tap} identity {self.identity}"


@dataclass(slots=True)
class PortRequestRefused(PortEvent):
    """A call of the port REST API was answered with an error.

    `error` is the text that the caller got; it quotes no body.
    """

    counter: ClassVar[str | None] = "ports_requests_refused_total"
    level: ClassVar[str | None] = "warn"

    method: str
    path: str
    status: int
    error: str

    def label(self) -> str:
        """The status, from a closed set."""
        return str(self.status)

    def text(self) -> str:
        """Says what was asked and why it was refused."""
        return f"Error: {self.method} {self.path!r} : {self.status} {self.error}"


@dataclass(slots=True)
class PortFileSkipped(PortEvent):
    """A file of the journal was not loaded at start; it is left where it is."""

    counter: ClassVar[str | None] = "ports_files_skipped_total"
    level: ClassVar[str | None] = "warn"

    path: str
    reason: str

    def text(self) -> str:
        """Says which file and why."""
        return f"Error: port file {self.path} skipped : {self.reason}"


@dataclass(slots=True)
class PortsRestored(PortEvent):
    """The journal was read at start."""

    level: ClassVar[str | None] = "info"

    count: int

    def text(self) -> str:
        """Says how many ports are back."""
        return f"{self.count} ports restored"


@dataclass(slots=True)
class PortJournalFailed(PortEvent):
    """The journal could not be changed; the reason names the file."""

    counter: ClassVar[str | None] = "ports_journal_errors_total"
    level: ClassVar[str | None] = "error"

    reason: str

    def text(self) -> str:
        """Says which file and why."""
        return f"Error: {self.reason}"


@dataclass(slots=True)
class PortsUnsettled(PortEvent):
    """The kernel did not take a change in time; the registry has it all the same."""

    counter: ClassVar[str | None] = "ports_unsettled_total"
    level: ClassVar[str | None] = "error"

    reason: str

    def text(self) -> str:
        """Says what was waited for."""
        return f"Error: {self.reason}"


@dataclass(slots=True)
class StalePortsRemoved(PortEvent):
    """A time after `POST /syncports`, ports that nobody registered again are gone."""

    counter: ClassVar[str | None] = "ports_stale_sweeps_total"
    level: ClassVar[str | None] = "warn"

    count: int

    def text(self) -> str:
        """Says how many ports went."""
        return f"{self.count} stale ports removed after syncports"
