"""What is reported of ports: those that are registered, their files, the port API."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.observe.event import Event, Metric

BUFFER = "Ports"
"""Sandesh trace buffer of this room."""


class PortEvent(Event):
    """Base of what appears in the trace buffer `Ports`."""

    __slots__ = ()
    buffer = BUFFER
    sandesh = "PortTrace"


@dataclass(slots=True)
class PortRegistered(PortEvent):
    """A port is new, or replaced one of the same id by something different.

    `identity` is the address that stands for it above the tap.
    """

    counter = Metric(
        "ports_registered_total",
        "Times that a port was registered, or replaced by something different.",
    )
    level = "info"
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
    """A port is gone, and its identity is free for another."""

    counter = Metric("ports_removed_total", "Ports that were removed.")
    level = "info"
    port_id: str
    tap: str
    identity: str

    def text(self) -> str:
        """Says which identity became free."""
        return f"Port {self.port_id} removed : tap {self.tap} identity {self.identity}"


@dataclass(slots=True)
class AddressLearned(PortEvent):
    """A port that learns has the address that its guest uses now, in place of `before`,
    "" for none.
    """

    counter = Metric(
        "ports_addresses_learned_total",
        "Times that a port which learns took the address that its guest uses.",
    )
    level = "info"
    port_id: str
    tap: str
    address: str
    before: str

    def text(self) -> str:
        """Says which port, and which address."""
        instead = f" instead of {self.before}" if self.before else ""
        return f"Port {self.port_id} tap {self.tap} learned {self.address}{instead}"


@dataclass(slots=True)
class PortRequestRefused(PortEvent):
    """A call of the port API was answered with an error.

    `detail` is the text that the caller got; it quotes no body.
    """

    counter = Metric(
        "ports_requests_refused_total",
        "Calls of the port API that were answered with an error, by status.",
    )
    level = "warn"
    method: str
    path: str
    status: int
    detail: str

    def label(self) -> str:
        """The status, one of a closed set."""
        return str(self.status)

    def text(self) -> str:
        """Says what was asked and why it was refused."""
        return f"Error: {self.method} {self.path!r} : {self.status} {self.detail}"


@dataclass(slots=True)
class PortFileSkipped(PortEvent):
    """A port file was not loaded at start; it is left where it is."""

    counter = Metric(
        "ports_files_skipped_total",
        "Port files that were not loaded at start. They are left where they are.",
    )
    level = "warn"
    path: str
    detail: str

    def text(self) -> str:
        """Says which file and why."""
        return f"Error: port file {self.path} skipped : {self.detail}"


@dataclass(slots=True)
class ContrailFolderUnused(PortEvent):
    """The folder of Contrail's port files is neither a link to ours nor a directory
    that is read. `state` is one of a closed set.
    """

    level = "warn"
    path: str
    state: str
    detail: str

    def text(self) -> str:
        """Says what is wrong with it."""
        why = f" ({self.detail})" if self.detail else ""
        return (
            f"Error: {self.path} is {self.state}{why} : what Contrail's tools write "
            "there while the agent is away is not seen; vagentctl doctor says more"
        )


@dataclass(slots=True)
class PortFilesGone(PortEvent):
    """Files of Contrail's folder were removed while the agent was away, and so were
    their ports.
    """

    level = "info"
    directory: str
    ports: int

    def text(self) -> str:
        """Says how many."""
        return f"{self.ports} ports removed whose files went from {self.directory}"


@dataclass(slots=True)
class PortFilesFollowed(PortEvent):
    """Other programs wrote or removed port files, and the ports followed."""

    counter = Metric(
        "ports_files_followed_total",
        "Times that port files which other programs wrote or removed changed the "
        "ports.",
    )
    level = "info"
    added: int
    removed: int

    def text(self) -> str:
        """Says how many ports came and went."""
        return f"{self.added} ports added, {self.removed} removed, as their files were"


@dataclass(slots=True)
class PortsRestored(PortEvent):
    """The port files were read at start."""

    level = "info"
    ports: int

    def text(self) -> str:
        """Says how many ports are back."""
        return f"{self.ports} ports restored"


@dataclass(slots=True)
class PortJournalFailed(PortEvent):
    """A port file could not be written or removed; `detail` names it."""

    counter = Metric(
        "ports_journal_errors_total",
        "Times that port files could not be read, written or removed.",
    )
    level = "error"
    detail: str

    def text(self) -> str:
        """Says which file and why."""
        return f"Error: {self.detail}"


@dataclass(slots=True)
class PortsUnsettled(PortEvent):
    """The kernel did not take a change in time; the ports stay registered."""

    counter = Metric(
        "ports_unsettled_total",
        "Times that the kernel did not take a change of ports in time. The ports stay "
        "registered all the same.",
    )
    level = "error"
    detail: str

    def text(self) -> str:
        """Says what was waited for."""
        return f"Error: {self.detail}"


@dataclass(slots=True)
class StalePortsRemoved(PortEvent):
    """Ports that nobody registered again after `POST /syncports` were removed."""

    counter = Metric(
        "ports_stale_sweeps_total",
        "Times that ports were removed because nobody had registered them again after "
        "POST /syncports.",
    )
    level = "warn"
    ports: int

    def text(self) -> str:
        """Says how many ports were removed."""
        return f"{self.ports} stale ports removed after syncports"
