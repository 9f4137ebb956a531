"""What the metadata server reports. Never a body, a signature or a header value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vagent.observe.event import Event

MAX_SHOWN_TARGET = 120
"""Characters of a request target in a trace line."""


@dataclass(slots=True)
class NovaAnswered(Event):
    """A request was answered. `instance_id` is "" unless its signature was right;
    `reason` says why it was refused, "" when it was not.
    """

    counter: ClassVar[str | None] = "nova_requests_total"
    buffer: ClassVar[str | None] = "MetadataServer"
    sandesh: ClassVar[str] = "MetadataServerTrace"

    method: str
    target: bytes
    status: int
    instance_id: str
    reason: str

    def label(self) -> str:
        return f"{self.status // 100}xx"

    def text(self) -> str:
        path = self.target.split(b"?")[0].decode("latin-1")
        why = f" ({self.reason})" if self.reason else ""
        return (
            f"{_plain(self.method, 16)} {_plain(path, MAX_SHOWN_TARGET)}"
            f" for {_plain(self.instance_id, 64) or '-'}: {self.status}{why}"
        )


def _plain(text: str, most: int) -> str:
    """What a caller sent, cut and made printable ASCII."""
    return ascii(text[:most])[1:-1]


@dataclass(slots=True)
class NovaRefused(Event):
    """A request was refused; counted by reason."""

    counter: ClassVar[str | None] = "nova_refusals_total"

    reason: str

    def label(self) -> str:
        return self.reason


@dataclass(slots=True)
class NovaFailed(Event):
    """An answer could not be made, by our fault or the store's: the caller got 500."""

    counter: ClassVar[str | None] = "nova_failures_total"
    buffer: ClassVar[str | None] = "MetadataServer"
    sandesh: ClassVar[str] = "MetadataServerTrace"
    level: ClassVar[str | None] = "error"

    error: str
    place: str

    def text(self) -> str:
        return f"metadata server: {self.error} at {self.place}"


@dataclass(slots=True)
class InstanceSkipped(Event):
    """A stored instance document is invalid; its guest gets 404 until it is mended."""

    counter: ClassVar[str | None] = "nova_instances_skipped_total"
    buffer: ClassVar[str | None] = "MetadataServer"
    sandesh: ClassVar[str] = "MetadataServerTrace"
    level: ClassVar[str | None] = "warn"

    instance_id: str
    why: str

    def text(self) -> str:
        return f"stored instance {self.instance_id} is not served: {self.why}"


@dataclass(slots=True)
class NovaTlsReloaded(Event):
    """The PEM files changed and new connections use them; or they could not be used,
    and new connections still get the old ones (`why` says what was wrong).
    """

    counter: ClassVar[str | None] = "nova_tls_reloads_total"
    buffer: ClassVar[str | None] = "MetadataServer"
    sandesh: ClassVar[str] = "MetadataServerTrace"
    level: ClassVar[str | None] = "warn"

    why: str = ""

    def label(self) -> str:
        return "failed" if self.why else "done"

    def text(self) -> str:
        if self.why:
            return f"metadata server keeps its old certificates: {self.why}"
        return "metadata server took new certificates"


@dataclass(slots=True)
class NovaHandshakeFailed(Event):
    """A client did not get past the TLS handshake, e.g. for its certificate."""

    counter: ClassVar[str | None] = "nova_handshakes_failed_total"
    buffer: ClassVar[str | None] = "MetadataServer"
    sandesh: ClassVar[str] = "MetadataServerTrace"

    peer: str
    why: str

    def text(self) -> str:
        return f"metadata server: {self.peer}: {self.why}"


@dataclass(slots=True)
class NovaConnectionRefused(Event):
    """A connection came while the server had as many as it may have."""

    counter: ClassVar[str | None] = "nova_connections_refused_total"
