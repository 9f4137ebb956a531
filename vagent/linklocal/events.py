"""What happens to the list of services, as events."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar

from vagent.observe.event import Event


@dataclass(slots=True)
class ServiceLeftOut(Event):
    """An entry means no service. `reason` is one of `table.REASONS`."""

    counter: ClassVar[str | None] = "linklocal_entries_left_out_total"
    buffer: ClassVar[str | None] = "LinkLocal"
    sandesh: ClassVar[str] = "LinkLocalTrace"
    level: ClassVar[str | None] = "warn"

    position: int
    name: str
    reason: str
    detail: str

    def label(self) -> str:
        """Why, from a closed set."""
        return self.reason

    def text(self) -> str:
        """One line for the trace and the log."""
        return (
            f"Link-local service entry {self.position} ({self.name}) left out: "
            f"{self.detail}"
        )


@dataclass(slots=True)
class FabricAddressLeftOut(Event):
    """One fabric address of an entry is unusable; the entry stays."""

    counter: ClassVar[str | None] = "linklocal_fabric_addresses_left_out_total"
    buffer: ClassVar[str | None] = "LinkLocal"
    sandesh: ClassVar[str] = "LinkLocalTrace"
    level: ClassVar[str | None] = "warn"

    position: int
    name: str
    detail: str

    def text(self) -> str:
        """One line for the trace and the log."""
        return f"Link-local service entry {self.position} ({self.name}): {self.detail}"


@dataclass(slots=True)
class ServicesChanged(Event):
    """A new table is in force."""

    counter: ClassVar[str | None] = "linklocal_table_changes_total"
    buffer: ClassVar[str | None] = "LinkLocal"
    sandesh: ClassVar[str] = "LinkLocalTrace"
    level: ClassVar[str | None] = "info"

    names: tuple[str, ...]

    def text(self) -> str:
        """One line for the trace and the log."""
        shown = ", ".join(self.names[:8]) or "none"
        more = f" and {len(self.names) - 8} more" if len(self.names) > 8 else ""
        return f"Link-local services: {shown}{more}"


@dataclass(slots=True)
class ServicesKept(Event):
    """The list could not be read; the last good table stays in force."""

    counter: ClassVar[str | None] = "linklocal_reads_failed_total"
    buffer: ClassVar[str | None] = "LinkLocal"
    sandesh: ClassVar[str] = "LinkLocalTrace"
    level: ClassVar[str | None] = "error"

    detail: str

    def text(self) -> str:
        """One line for the trace and the log."""
        return f"Link-local services kept as they are: {self.detail}"


@dataclass(slots=True)
class NameResolved(Event):
    """The addresses of a fabric service's name are others than before."""

    counter: ClassVar[str | None] = "linklocal_names_resolved_total"
    buffer: ClassVar[str | None] = "LinkLocal"
    sandesh: ClassVar[str] = "LinkLocalTrace"
    level: ClassVar[str | None] = "info"

    name: str
    addresses: tuple[IPv4Address | IPv6Address, ...]

    def text(self) -> str:
        """One line for the trace and the log."""
        return f"{self.name} is {', '.join(str(each) for each in self.addresses)}"


@dataclass(slots=True)
class NameUnresolved(Event):
    """A fabric service's name could not be resolved; the last good answer stays."""

    counter: ClassVar[str | None] = "linklocal_names_unresolved_total"
    buffer: ClassVar[str | None] = "LinkLocal"
    sandesh: ClassVar[str] = "LinkLocalTrace"
    level: ClassVar[str | None] = "warn"

    name: str
    why: str
    has_answer: bool

    def text(self) -> str:
        """One line for the trace and the log."""
        kept = "the last good answer stays" if self.has_answer else "there is none yet"
        return f"{self.name} not resolved: {self.why}; {kept}"
