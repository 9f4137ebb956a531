"""What is reported of link-local services: the list, and names of their endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from vagent.observe.event import Event, Metric


class LinkLocalEvent(Event):
    """Base of what appears in the trace buffer `LinkLocal`."""

    __slots__ = ()
    buffer = "LinkLocal"
    sandesh = "LinkLocalTrace"


@dataclass(slots=True)
class ServiceLeftOut(LinkLocalEvent):
    """An entry of the list offers no service. `reason` is one of `table.REASONS`.

    `position` is the entry's in the list, from 1.
    """

    counter = Metric(
        "linklocal_entries_left_out_total",
        "Entries of the list of link-local services that were left out, by reason.",
    )
    level = "warn"
    position: int
    service: str
    reason: str
    detail: str

    def label(self) -> str:
        """Why the service was left out, one of a closed set."""
        return self.reason

    def text(self) -> str:
        """One line for the trace and the log."""
        return (
            f"Link-local service entry {self.position} ({self.service}) left out: "
            f"{self.detail}"
        )


@dataclass(slots=True)
class FabricAddressLeftOut(LinkLocalEvent):
    """One fabric address of an entry is unusable; the service stays."""

    counter = Metric(
        "linklocal_fabric_addresses_left_out_total",
        "Fabric addresses of link-local services that were left out because they are "
        "unusable. Their services stay.",
    )
    level = "warn"
    position: int
    service: str
    detail: str

    def text(self) -> str:
        """One line for the trace and the log."""
        return (
            f"Link-local service entry {self.position} ({self.service}): {self.detail}"
        )


@dataclass(slots=True)
class ServicesChanged(LinkLocalEvent):
    """A new table of services is in force: these."""

    counter = Metric(
        "linklocal_table_changes_total",
        "Times that a new table of link-local services came into force.",
    )
    level = "info"
    services: tuple[str, ...]

    def text(self) -> str:
        """One line for the trace and the log."""
        shown = ", ".join(self.services[:8]) or "none"
        more = f" and {len(self.services) - 8} more" if len(self.services) > 8 else ""
        return f"Link-local services: {shown}{more}"


@dataclass(slots=True)
class ServicesKept(LinkLocalEvent):
    """The list could not be read; the last good table stays in force."""

    counter = Metric(
        "linklocal_reads_failed_total",
        "Times that the list of link-local services could not be read. The last good "
        "table stays in force.",
    )
    level = "error"
    detail: str

    def text(self) -> str:
        """One line for the trace and the log."""
        return f"Link-local services kept as they are: {self.detail}"


@dataclass(slots=True)
class NameResolved(LinkLocalEvent):
    """The name of a fabric endpoint has other addresses than before."""

    counter = Metric(
        "linklocal_names_resolved_total",
        "Times that the name of a fabric endpoint resolved to other addresses than "
        "before.",
    )
    level = "info"
    name: str
    addresses: tuple[IPv4Address | IPv6Address, ...]

    def text(self) -> str:
        """One line for the trace and the log."""
        return f"{self.name} is {', '.join(str(each) for each in self.addresses)}"


@dataclass(slots=True)
class NameUnresolved(LinkLocalEvent):
    """The name of a fabric endpoint did not resolve; the last good answer stays.

    `has_answer` says whether there is one.
    """

    counter = Metric(
        "linklocal_names_unresolved_total",
        "Times that the name of a fabric endpoint did not resolve. The last good "
        "answer stays in use.",
    )
    level = "warn"
    name: str
    detail: str
    has_answer: bool

    def text(self) -> str:
        """One line for the trace and the log."""
        kept = "the last good answer stays" if self.has_answer else "there is none yet"
        return f"{self.name} not resolved: {self.detail}; {kept}"


@dataclass(slots=True)
class NameNotUsed(LinkLocalEvent):
    """The name of a service resolves to an address to which no flows go: one of the
    agent's own servers, a guest's identity, or one at which no server can be.
    """

    counter = Metric(
        "linklocal_names_not_used_total",
        "Times that the name of a service was found to resolve to an address that is "
        "not used: an own server of the agent, an identity, or not unicast.",
    )
    level = "error"
    service: str
    name: str
    detail: str

    def text(self) -> str:
        """One line for the trace and the log."""
        return f"Service {self.service}: {self.name} is not used: {self.detail}"
