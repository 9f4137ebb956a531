"""What is reported of instances as files. Never a document."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.observe.event import Event, Metric


class InstanceFileEvent(Event):
    """Base of what appears in the trace buffer `InstanceFiles`."""

    __slots__ = ()
    buffer = "InstanceFiles"
    sandesh = "InstanceFilesTrace"


@dataclass(slots=True)
class InstanceFileRefused(InstanceFileEvent):
    """A file cannot be served, as it is now."""

    counter = Metric(
        "instance_files_refused_total",
        "Times that a file of the directory of instances was found to be no good. The "
        "others are served.",
    )
    level = "warn"
    path: str
    problem: str

    def text(self) -> str:
        return f"{self.path}: {self.problem}"

    def is_fault(self) -> bool:
        """True: its guest is not served, or not as the file says."""
        return True


@dataclass(slots=True)
class InstanceDirectoryFailed(InstanceFileEvent):
    """The directory cannot be read; the files that were known stay known."""

    counter = Metric(
        "instance_directory_failures_total",
        "Times that the directory of instances could not be read.",
    )
    level = "error"
    path: str
    problem: str

    def text(self) -> str:
        return f"{self.path}: {self.problem}"

    def is_fault(self) -> bool:
        """True: new files are not seen."""
        return True


@dataclass(slots=True)
class InstanceFilesChanged(InstanceFileEvent):
    """The directory was looked at, and had new, changed or removed files."""

    counter = Metric(
        "instance_files_changed_total",
        "Times that files of the directory of instances were found changed.",
    )
    level = "info"
    path: str
    files: int
    changed: int
    removed: int

    def text(self) -> str:
        return (
            f"{self.path}: {self.files} instances, {self.changed} new or changed,"
            f" {self.removed} removed"
        )
