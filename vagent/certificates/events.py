"""What is told of TLS files and of the ends of certificates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vagent.observe.event import Event


class CertificateEvent(Event):
    """Base of what appears in the trace buffer `Metadata`."""

    __slots__ = ()
    buffer: ClassVar[str | None] = "Metadata"
    sandesh: ClassVar[str] = "MetadataTrace"


@dataclass(slots=True)
class TlsFilesRefused(CertificateEvent):
    """The TLS files cannot be used; nothing is sent until they can."""

    counter: ClassVar[str | None] = "metadata_tls_files_refused_total"
    level: ClassVar[str | None] = "error"
    reason: str

    def text(self) -> str:
        """Which file and what is wrong with it."""
        return f"Metadata TLS files cannot be used: {self.reason}"


@dataclass(slots=True)
class TlsFilesLoaded(CertificateEvent):
    """The TLS files were read, at first use or after a change."""

    level: ClassVar[str | None] = "info"
    certificate: str
    expires: str

    def text(self) -> str:
        """Which certificate is presented and until when it is valid."""
        return (
            f"Metadata TLS client certificate {self.certificate}, "
            f"valid until {self.expires}"
        )


@dataclass(slots=True)
class CertificateEnds(CertificateEvent):
    """A certificate in use comes to its end: told at 30 days and at 7."""

    counter: ClassVar[str | None] = "metadata_certificate_warnings_total"
    level: ClassVar[str | None] = "warn"
    path: str
    subject: str
    until: str
    stage: str

    def label(self) -> str:
        """How near the end is, of a closed set."""
        return self.stage

    def text(self) -> str:
        """Which file, whose, until when."""
        return f"Metadata certificate {self.path} ({self.subject}) ends on {self.until}"


@dataclass(slots=True)
class CertificateEnded(CertificateEvent):
    """A certificate in use has come to its end: connections with it fail."""

    counter: ClassVar[str | None] = "metadata_certificates_expired_total"
    level: ClassVar[str | None] = "error"
    path: str
    subject: str
    until: str

    def text(self) -> str:
        """Which file, whose, since when."""
        return (
            f"Metadata certificate {self.path} ({self.subject}) "
            f"ended on {self.until}: connections with it fail"
        )
