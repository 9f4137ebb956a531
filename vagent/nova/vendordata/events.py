"""What vendor data report. Never an answer, a body or a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vagent.observe.event import Event


@dataclass(slots=True)
class TargetAnswered(Event):
    """A target was called and gave a valid answer; counted by target."""

    counter: ClassVar[str | None] = "vendordata_answers_total"
    buffer: ClassVar[str | None] = "VendorData"
    sandesh: ClassVar[str] = "VendorDataTrace"
    histogram: ClassVar[str | None] = "vendordata_answer_seconds"

    target: str
    instance_id: str
    seconds: float

    def label(self) -> str:
        """Targets are those of agent.conf, at most 32."""
        return self.target

    def text(self) -> str:
        return (
            f"target {self.target} answered for {self.instance_id}"
            f" in {self.seconds:.3f} s"
        )


@dataclass(slots=True)
class TargetFailed(Event):
    """A target was called and gave no valid answer; counted by what went wrong."""

    counter: ClassVar[str | None] = "vendordata_failures_total"
    buffer: ClassVar[str | None] = "VendorData"
    sandesh: ClassVar[str] = "VendorDataTrace"
    level: ClassVar[str | None] = "warn"

    target: str
    instance_id: str
    kind: str
    why: str

    def label(self) -> str:
        """A closed set: those that TargetError is raised with."""
        return self.kind

    def text(self) -> str:
        return f"target {self.target} failed for {self.instance_id}: {self.why}"


@dataclass(slots=True)
class AnswersReused(Event):
    """Answers that were kept went into vendor_data2.json, and no target was called."""

    counter: ClassVar[str | None] = "vendordata_reused_total"


@dataclass(slots=True)
class InstanceMarkedFailed(Event):
    """Targets gave no valid answer for an instance, and the failure mode is hard: its
    vendor_data2.json is an error until they do.
    """

    counter: ClassVar[str | None] = "vendordata_instances_failed_total"
    buffer: ClassVar[str | None] = "VendorData"
    sandesh: ClassVar[str] = "VendorDataTrace"
    level: ClassVar[str | None] = "error"

    instance_id: str
    why: str

    def text(self) -> str:
        return f"instance {self.instance_id} is marked as failed: {self.why}"


@dataclass(slots=True)
class InstanceRecovered(Event):
    """All targets gave a valid answer for an instance that was marked as failed."""

    counter: ClassVar[str | None] = "vendordata_instances_recovered_total"
    buffer: ClassVar[str | None] = "VendorData"
    sandesh: ClassVar[str] = "VendorDataTrace"
    level: ClassVar[str | None] = "info"

    instance_id: str

    def text(self) -> str:
        return f"instance {self.instance_id} is not failed any more"


@dataclass(slots=True)
class AnswersNotStored(Event):
    """Answers could not be stored; they are kept in memory, so a restart loses them."""

    counter: ClassVar[str | None] = "vendordata_not_stored_total"
    buffer: ClassVar[str | None] = "VendorData"
    sandesh: ClassVar[str] = "VendorDataTrace"
    level: ClassVar[str | None] = "error"

    instance_id: str
    why: str

    def text(self) -> str:
        return f"answers for {self.instance_id} are in memory only: {self.why}"


@dataclass(slots=True)
class StoredAnswersUnreadable(Event):
    """What is stored of an instance's vendor data is not what was put there; its
    targets are called again.
    """

    counter: ClassVar[str | None] = "vendordata_unreadable_total"
    buffer: ClassVar[str | None] = "VendorData"
    sandesh: ClassVar[str] = "VendorDataTrace"
    level: ClassVar[str | None] = "warn"

    instance_id: str

    def text(self) -> str:
        return f"stored vendor data of {self.instance_id} cannot be read"


@dataclass(slots=True)
class StaticFileReloaded(Event):
    """The static file changed and is used; or it could not be used, and the old
    content stays (`why` says what was wrong).
    """

    counter: ClassVar[str | None] = "vendordata_static_reloads_total"
    buffer: ClassVar[str | None] = "VendorData"
    sandesh: ClassVar[str] = "VendorDataTrace"
    level: ClassVar[str | None] = "warn"

    why: str = ""

    def label(self) -> str:
        return "failed" if self.why else "done"

    def text(self) -> str:
        if self.why:
            return f"static vendor data stay as they were: {self.why}"
        return "static vendor data were read again"
