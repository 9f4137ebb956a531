"""What the embedded metadata server reports. Never a body, a signature or a header."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.observe.event import Event, Metric

MAX_SHOWN_TARGET = 120
"""Characters of a request target in a trace line."""


class NovaEvent(Event):
    """Base of what appears in the trace buffer `MetadataServer`."""

    __slots__ = ()
    buffer = "MetadataServer"
    sandesh = "MetadataServerTrace"


@dataclass(slots=True)
class NovaAnswered(NovaEvent):
    """A request was answered.

    `instance_id` is "" unless the request's signature was right; `reason` says why it
    was refused, "" where it was not.
    """

    counter = Metric(
        "nova_requests_total",
        "Requests to the embedded metadata server, by class of status: 2xx, 4xx, 5xx.",
    )
    method: str
    target: bytes
    status: int
    instance_id: str
    reason: str

    def label(self) -> str:
        """The class of the status, such as 2xx."""
        return f"{self.status // 100}xx"

    def text(self) -> str:
        """Says what was asked, for which instance, and with which outcome."""
        path = self.target.split(b"?")[0].decode("latin-1")
        why = f" ({self.reason})" if self.reason else ""
        return (
            f"{_plain(self.method, 16)} {_plain(path, MAX_SHOWN_TARGET)}"
            f" for {_plain(self.instance_id, 64) or '-'}: {self.status}{why}"
        )

    def is_fault(self) -> bool:
        """True where the request was refused or failed."""
        return self.status >= 400


def _plain(text: str, most: int) -> str:
    """What a caller sent, cut and made printable ASCII."""
    return ascii(text[:most])[1:-1]


@dataclass(slots=True)
class NovaRefused(Event):
    """A request was refused. Counted only: `NovaAnswered` is traced as well."""

    counter = Metric(
        "nova_refusals_total",
        "Requests that the embedded metadata server refused, by reason.",
    )
    reason: str

    def label(self) -> str:
        """Why the request was refused, one of a closed set."""
        return self.reason


@dataclass(slots=True)
class NovaFailed(NovaEvent):
    """No answer could be made, by our fault or the store's: the client got 500.

    `error` is the type of the exception and `place` where it was raised; `problem` is
    what the store or the file of an instance says, "" for a fault of ours.
    """

    counter = Metric(
        "nova_failures_total",
        "Requests that the embedded metadata server answered with 500, because of a "
        "fault in the agent or in its store.",
    )
    level = "error"
    error: str
    place: str
    problem: str = ""

    def text(self) -> str:
        place = f"metadata server: {self.error} at {self.place}"
        return f"{place}: {self.problem}" if self.problem else place


@dataclass(slots=True)
class InstanceSkipped(NovaEvent):
    """A stored instance is invalid; its guest gets 404 until it is corrected."""

    counter = Metric(
        "nova_instances_skipped_total",
        "Times that a stored instance was found invalid. Its guest gets 404 until it "
        "is corrected.",
    )
    level = "warn"
    instance_id: str
    detail: str

    def text(self) -> str:
        return f"stored instance {self.instance_id} is not served: {self.detail}"


@dataclass(slots=True)
class NovaTlsReloaded(NovaEvent):
    """The PEM files changed, and new connections use them.

    Where they could not be used `detail` says why, and new connections still get the
    old ones.
    """

    counter = Metric(
        "nova_tls_reloads_total",
        "Changes of the embedded metadata server's PEM files, by outcome: done, or "
        "failed where the old ones stay in use.",
    )
    level = "warn"
    detail: str = ""

    def label(self) -> str:
        """The outcome."""
        return "failed" if self.detail else "done"

    def text(self) -> str:
        if self.detail:
            return f"metadata server keeps its old certificates: {self.detail}"
        return "metadata server took new certificates"

    def is_fault(self) -> bool:
        """True where the new files could not be used."""
        return bool(self.detail)


@dataclass(slots=True)
class NovaHandshakeFailed(NovaEvent):
    """A client did not get past the TLS handshake, because of its certificate say."""

    counter = Metric(
        "nova_handshakes_failed_total",
        "TLS handshakes of clients with the embedded metadata server that failed.",
    )
    peer: str
    detail: str

    def text(self) -> str:
        return f"metadata server: {self.peer}: {self.detail}"

    def is_fault(self) -> bool:
        """True: the client is not served."""
        return True


@dataclass(slots=True)
class NovaConnectionRefused(Event):
    """A connection was refused because the server had as many as it may have."""

    counter = Metric(
        "nova_connections_refused_total",
        "Connections that the embedded metadata server refused because it had as many "
        "as it may have.",
    )
