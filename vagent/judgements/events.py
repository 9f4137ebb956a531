"""What is reported of judgements: that they begin and that they end."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.judgements.judgement import Judgement, JudgementKind, Severity, SubjectKind
from vagent.observe.event import Event, Metric


@dataclass(slots=True)
class JudgementEvent(Event):
    """Base: `port_id` is the port that it is about, `instance_id` and `tap` are the
    port's, `endpoint` is the endpoint, `request` a request that met it; "" where it is
    about none.
    """

    buffer = "Judgements"
    sandesh = "JudgementTrace"
    kind: JudgementKind
    severity: Severity
    subject: str
    port_id: str
    tap: str
    instance_id: str
    endpoint: str
    request: str
    detail: str

    def label(self) -> str:
        """What is wrong, one of a closed set."""
        return self.kind.value


@dataclass(slots=True)
class JudgementBegan(JudgementEvent):
    """Something is wrong from now on. Told once, however often it is seen."""

    counter = Metric(
        "judgements_begun_total",
        "Times that something began to be wrong, by what it is.",
    )
    level = "warn"
    remedy: str

    def text(self) -> str:
        """Severity, subject, what is wrong, and what mends it."""
        return f"{self.severity}: {self.subject}: {self.detail}; {self.remedy}"


@dataclass(slots=True)
class JudgementEnded(JudgementEvent):
    """It is not wrong any more. `lasted` is in seconds."""

    counter = Metric(
        "judgements_ended_total",
        "Times that something was no longer wrong, by what it was.",
    )
    level = "warn"
    lasted: float

    def text(self) -> str:
        """Subject, what was wrong, and for how long."""
        return f"ended after {self.lasted:.0f} s: {self.subject}: {self.detail}"

    def is_fault(self) -> bool:
        """False: it is the end of one."""
        return False


def began(judgement: Judgement) -> JudgementBegan:
    """The event of its beginning."""
    return JudgementBegan(*_about(judgement), judgement.remedy)


def ended(judgement: Judgement, lasted: float) -> JudgementEnded:
    """The event of its end."""
    return JudgementEnded(*_about(judgement), lasted)


def _about(
    judgement: Judgement,
) -> tuple[JudgementKind, Severity, str, str, str, str, str, str, str]:
    subject = judgement.subject
    return (
        judgement.kind,
        judgement.severity,
        str(subject),
        subject.id if subject.kind is SubjectKind.PORT else "",
        subject.tap,
        subject.instance,
        subject.id if subject.kind is SubjectKind.ENDPOINT else "",
        judgement.request,
        judgement.text,
    )
