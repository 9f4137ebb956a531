"""What is reported of guests' connections beside their requests."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.metadata.events import SECONDS, MetadataEvent, RequestEvent
from vagent.observe.event import Metric


@dataclass(slots=True)
class AnswerWithheld(RequestEvent):
    """The connection was closed without an answer instead of 503, because the guest's
    cloud-init repeats the request after that, and takes 503 for final. Why there was no
    answer is told by the event before.
    """

    counter = Metric(
        "metadata_withheld_responses_total",
        "Connections that were closed without an answer instead of 503, because the "
        "guest's cloud-init would have booted without the document.",
    )
    histogram = SECONDS
    timed_as = "failed"
    seconds: float

    def text(self) -> str:
        """Says whose request is not answered, and why that is better."""
        return (
            f"Metadata for VM : {self.guest} closed without an answer instead of 503,"
            " which its cloud-init would take for final: now it asks again"
        )

    def is_fault(self) -> bool:
        """True: the guest did not get what it asked for."""
        return True


@dataclass(slots=True)
class GuestsDrained(MetadataEvent):
    """The agent stops: it took so many seconds until guests had their answers, and
    `left` connections were not done in time.
    """

    counter = Metric(
        "metadata_drains_total",
        "Stops of the agent that waited for the requests of guests, by whether all "
        "were answered.",
    )
    level = "info"
    took: float
    left: int

    def label(self) -> str:
        """Whether all were answered."""
        return "cut" if self.left else "complete"

    def text(self) -> str:
        """How long it took, and what was cut."""
        if not self.left:
            return f"requests of guests are answered, after {self.took:.1f} s"
        return (
            f"stopping after {self.took:.1f} s although {self.left} connections of"
            " guests are not done: they are reset"
        )

    def is_fault(self) -> bool:
        """Were guests cut?"""
        return self.left > 0
