"""What is reported of the proxy's TLS files, and of certificates that expire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from vagent.observe.event import Event, Metric


class CertificateEvent(Event):
    """Base of what appears in the trace buffer `Metadata`."""

    __slots__ = ()
    buffer = "Metadata"
    sandesh = "MetadataTrace"


@dataclass(slots=True)
class TlsFilesRefused(CertificateEvent):
    """The TLS files of the proxy cannot be used; nothing is sent until they can."""

    counter = Metric(
        "metadata_tls_files_refused_total",
        "Times that the proxy's TLS files were found unusable. Nothing is sent to the "
        "metadata service until they can be used.",
    )
    level = "error"
    detail: str

    def text(self) -> str:
        """Names the file and says what is wrong with it."""
        return f"Metadata TLS files cannot be used: {self.detail}"


@dataclass(slots=True)
class TlsFilesLoaded(CertificateEvent):
    """The TLS files of the proxy were read, at first use or after a change.

    `subject` and `until` are those of the client certificate.
    """

    level = "info"
    subject: str
    until: datetime

    def text(self) -> str:
        """Names the certificate that is presented, and says until when it is valid."""
        return (
            f"Metadata TLS client certificate {self.subject}, "
            f"valid until {self.until.isoformat()}"
        )


@dataclass(slots=True)
class CertificateEnds(CertificateEvent):
    """A certificate in use expires soon: reported 30 days before, and 7 days before."""

    counter = Metric(
        "metadata_certificate_warnings_total",
        "Times that a certificate in use came close to its end, by how close: 30-days "
        "or 7-days.",
    )
    level = "warn"
    path: str
    subject: str
    until: datetime
    stage: str

    def label(self) -> str:
        """The warning that is due (a value of `ExpiryStage`), one of a closed set."""
        return self.stage

    def text(self) -> str:
        """Names the file and the certificate's subject, and says when it expires."""
        until = f"{self.until:%Y-%m-%d %H:%M} UTC"
        return f"Metadata certificate {self.path} ({self.subject}) ends on {until}"


@dataclass(slots=True)
class CertificateEnded(CertificateEvent):
    """A certificate in use has expired: connections with it fail."""

    counter = Metric(
        "metadata_certificates_expired_total",
        "Times that a certificate in use expired. Connections with it fail.",
    )
    level = "error"
    path: str
    subject: str
    until: datetime

    def text(self) -> str:
        """Names the file and the certificate's subject, and says when it expired."""
        return (
            f"Metadata certificate {self.path} ({self.subject}) "
            f"ended on {self.until:%Y-%m-%d %H:%M} UTC: connections with it fail"
        )
