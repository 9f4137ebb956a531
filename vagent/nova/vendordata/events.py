"""What is reported of vendor data. Never an answer, a body or a token."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.observe.event import Event, Metric


class VendorDataEvent(Event):
    """Base of what appears in the trace buffer `VendorData`."""

    __slots__ = ()
    buffer = "VendorData"
    sandesh = "VendorDataTrace"


@dataclass(slots=True)
class TargetAnswered(VendorDataEvent):
    """A target was called for an instance and gave a valid answer."""

    counter = Metric(
        "vendordata_answers_total",
        "Valid answers of vendor data targets, by target.",
    )
    histogram = Metric(
        "vendordata_answer_seconds",
        "Seconds until a vendor data target gave a valid answer.",
    )
    target: str
    instance_id: str
    seconds: float

    def label(self) -> str:
        """The name of the target; agent.conf names at most 32."""
        return self.target

    def text(self) -> str:
        return (
            f"target {self.target} answered for {self.instance_id}"
            f" in {self.seconds:.3f} s"
        )


@dataclass(slots=True)
class TargetFailed(VendorDataEvent):
    """A target was called for an instance and gave no valid answer."""

    counter = Metric(
        "vendordata_failures_total",
        "Calls of vendor data targets that brought no valid answer, by what went "
        "wrong.",
    )
    level = "warn"
    target: str
    instance_id: str
    reason: str
    detail: str

    def label(self) -> str:
        """Why the target failed, one of those that TargetError is raised with."""
        return self.reason

    def text(self) -> str:
        return f"target {self.target} failed for {self.instance_id}: {self.detail}"


@dataclass(slots=True)
class AnswersReused(Event):
    """Kept answers went into vendor_data2.json, and no target was called.

    Counted only.
    """

    counter = Metric(
        "vendordata_reused_total",
        "Times that vendor_data2.json was made of answers that were kept, without a "
        "call of a target.",
    )


@dataclass(slots=True)
class InstanceMarkedFailed(VendorDataEvent):
    """Targets gave no valid answer for an instance, and the failure mode is hard.

    Its vendor_data2.json is an error until they do.
    """

    counter = Metric(
        "vendordata_instances_failed_total",
        "Instances whose vendor_data2.json became an error because a target gave no "
        "valid answer and the failure mode is hard.",
    )
    level = "error"
    instance_id: str
    detail: str

    def text(self) -> str:
        return f"instance {self.instance_id} is marked as failed: {self.detail}"


@dataclass(slots=True)
class InstanceRecovered(VendorDataEvent):
    """All targets gave a valid answer for an instance that was marked as failed."""

    counter = Metric(
        "vendordata_instances_recovered_total",
        "Instances whose vendor_data2.json is no error any more.",
    )
    level = "info"
    instance_id: str

    def text(self) -> str:
        return f"instance {self.instance_id} is not failed any more"


@dataclass(slots=True)
class AnswersNotStored(VendorDataEvent):
    """Answers could not be stored; they are kept in memory, so a restart loses them."""

    counter = Metric(
        "vendordata_not_stored_total",
        "Times that answers of vendor data targets could not be stored. They are kept "
        "in memory, so a restart loses them.",
    )
    level = "error"
    instance_id: str
    detail: str

    def text(self) -> str:
        return f"answers for {self.instance_id} are in memory only: {self.detail}"


@dataclass(slots=True)
class StoredAnswersUnreadable(VendorDataEvent):
    """What is stored of an instance's vendor data is not what was put there.

    Its targets are called again.
    """

    counter = Metric(
        "vendordata_unreadable_total",
        "Times that the stored answers of vendor data targets could not be read. The "
        "targets are called again.",
    )
    level = "warn"
    instance_id: str

    def text(self) -> str:
        return f"stored vendor data of {self.instance_id} cannot be read"


@dataclass(slots=True)
class StaticFileReloaded(VendorDataEvent):
    """The file with static vendor data changed and is used.

    Where it could not be used `detail` says why, and the old content stays.
    """

    counter = Metric(
        "vendordata_static_reloads_total",
        "Changes of the file with static vendor data, by outcome: done, or failed "
        "where the old content stays in use.",
    )
    level = "warn"
    detail: str = ""

    def label(self) -> str:
        """The outcome."""
        return "failed" if self.detail else "done"

    def text(self) -> str:
        if self.detail:
            return f"static vendor data stay as they were: {self.detail}"
        return "static vendor data were read again"

    def is_fault(self) -> bool:
        """True where the file could not be used."""
        return bool(self.detail)
