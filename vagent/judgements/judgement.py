"""A judgement: one thing that is wrong, as a value that every reader shows alike."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is: WRONG stops guests now, WARNING will or may, NOTE is for
    information.
    """

    WRONG = "wrong"
    WARNING = "warning"
    NOTE = "note"


class JudgementKind(StrEnum):
    """What is wrong, from a closed set; a word for counters and for programs."""

    ENDPOINT_DOWN = "endpoint-down"
    ENDPOINT_FAILS_PROBES = "endpoint-fails-probes"
    CERTIFICATE_REFUSED = "client-certificate-refused"
    SIGNATURE_REFUSED = "signature-refused"
    HEADER_MISSING = "header-missing"
    TAKEN_FOR_LOAD_BALANCER = "taken-for-load-balancer"
    TLS_EXPECTED = "tls-expected"
    FORBIDDEN = "forbidden"
    NOT_NOVA = "not-nova"
    NOVA_UNAVAILABLE = "nova-unavailable"
    NOVA_FAILED = "nova-failed"
    INSTANCE_UNKNOWN = "instance-unknown"
    INSTANCE_DIRECTORY_FAILED = "instance-directory-failed"
    INSTANCE_FILES_REFUSED = "instance-files-refused"
    GUEST_CLAIMS_SERVICE = "guest-claims-service"
    GUEST_NOT_AS_REGISTERED = "guest-not-as-registered"
    PORTS_NEVER_ASKED = "ports-never-asked"
    TAPS_WITHOUT_PORT = "taps-without-port"
    GUEST_GETS_ERRORS = "guest-gets-errors"
    TAP_GONE = "tap-gone"
    PACKETS_DROPPED = "packets-dropped"


class SubjectKind(StrEnum):
    """What a judgement is about."""

    ENDPOINT = "endpoint"
    PORT = "port"
    DIRECTORY = "directory"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Subject:
    """The one that a judgement is about. `id` finds it (the UUID of a port,
    `address:port` of an endpoint, the path of a directory, of the host what of it is
    meant), `name` is what people call
    it, "" where that is the same. `instance` and `tap` are those of a port.
    """

    kind: SubjectKind
    id: str
    name: str = ""
    instance: str = ""
    tap: str = ""

    def __str__(self) -> str:
        named = f"{self.name} ({self.id})" if self.name else self.id
        return f"{self.kind.value} {named}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is wrong (`text`, a clause about the subject) and what mends it (`remedy`).

    `since` is in seconds since the epoch; 0 until the judgement has begun. `request` is
    a guest's request that met it, by the number that tools show; "" where none did.
    """

    kind: JudgementKind
    severity: Severity
    subject: Subject
    text: str
    remedy: str
    since: float = 0.0
    request: str = ""

    @property
    def key(self) -> tuple[JudgementKind, SubjectKind, str]:
        """Judgements with the same key are one that goes on."""
        return self.kind, self.subject.kind, self.subject.id


_ORDER = tuple(Severity)


def by_weight(judgement: Judgement) -> tuple[int, float, str]:
    """Sorts what is worst first, then what began first."""
    severity = _ORDER.index(judgement.severity)
    return severity, judgement.since, judgement.subject.id
