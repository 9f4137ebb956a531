"""What the metadata proxy reports: an event for each step of a guest's request.

Texts follow Contrail's `MetadataTrace`, with two deviations: a reply is one line with
status, size and time, never its bytes; and what a guest chose (the path) is bounded
and free of control characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from vagent.metadata import request_id
from vagent.metadata.limits import MAX_TRACE_TEXT
from vagent.observe.event import Event, Metric

REQUESTS = Metric(
    "metadata_requests_total",
    "Requests read from guests, those that were refused included.",
)
OWN_ERRORS = Metric(
    "metadata_internal_errors_total",
    "Requests that the proxy answered with an error of its own, and connections of "
    "guests that it cut, by reason.",
)

RESPONSES = Metric(
    "metadata_responses_total",
    "Complete replies handed to guests, by status: from the upstream, from the cache, "
    "with a session token, and errors of the proxy's own (which "
    "metadata_internal_errors_total counts by reason). A status that HTTP does not "
    "define is counted as its class, 2xx to 5xx.",
    label="status",
)

SECONDS = Metric(
    "metadata_request_seconds",
    "Seconds from a request's last byte to its complete reply from the upstream, from "
    "the cache, or with a session token (outcome answered), or to an error of the "
    "proxy's own (failed), closing without one included.",
    label="outcome",
)

_STATUSES = {one.value: str(one.value) for one in HTTPStatus}


def status_label(status: int) -> str:
    """The status as a label: one of those that HTTP defines, else of five words."""
    known = _STATUSES.get(status)
    if known is not None:
        return known
    return f"{status // 100}xx" if status < 600 else "other"


_METHODS = (
    b"DELETE",
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
)


def method_number(method: bytes) -> int:
    """The number of the C http_parser, which Contrail prints; -1 for the rare ones."""
    return _METHODS.index(method) if method in _METHODS else -1


def printable(guest_text: bytes) -> str:
    """Guest bytes as trace text: bounded, `?` for each byte that is no plain ASCII."""
    text = guest_text[:MAX_TRACE_TEXT].decode("ascii", "replace")
    return "".join(char if " " <= char <= "~" else "?" for char in text)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the port that is registered for the connection's source.

    `guest_address` is the address that the guest itself uses. While no port is known
    `port_id` and `tap` are "", and it is the source of the connection.
    """

    port_id: str
    tap: str
    guest_address: str


class MetadataEvent(Event):
    """Base of what appears in the trace buffer `Metadata`."""

    __slots__ = ()
    buffer = "Metadata"
    sandesh = "MetadataTrace"


@dataclass(slots=True)
class RequestEvent(MetadataEvent):
    """Base of what is told of one request: its number, and who sent it.

    `request` is `request_id.NONE` where a connection is cut before its first request.
    """

    request: int
    caller: Caller

    @property
    def guest(self) -> str:
        """The guest's address, for texts."""
        return printable(self.caller.guest_address.encode())

    def facts(self) -> dict[str, Any]:
        """The fields, the request's number as people and tools see it."""
        return {**MetadataEvent.facts(self), "request": request_id.shown(self.request)}


@dataclass(slots=True)
class RequestForwarded(RequestEvent):
    """A guest's request was accepted; it is answered from the cache or upstream."""

    counter = REQUESTS
    method: bytes
    path: bytes

    def text(self) -> str:
        """Contrail's line; it writes `Delete` in mixed case."""
        method = "Delete" if self.method == b"DELETE" else self.method.decode("ascii")
        return (
            f"{method} request for VM : {self.guest} URL : {printable(self.path[1:])}"
        )


@dataclass(slots=True)
class RequestParsed(Event):
    """A request was read that is not accepted; the next event says why.

    Counted only: that event is traced.
    """

    counter = REQUESTS


@dataclass(slots=True)
class ReplyRelayed(RequestEvent):
    """A complete reply was handed to the guest's connection.

    Contrail counts the pieces that it relays instead. `size` is the body's, in bytes.
    """

    counter = RESPONSES
    histogram = SECONDS
    timed_as = "answered"
    status: int
    size: int
    seconds: float

    def label(self) -> str:
        """The status."""
        return _STATUSES.get(self.status) or status_label(self.status)

    def text(self) -> str:
        """Status, size and time; never a header or a body."""
        return (
            f"Metadata for VM : {self.guest} Response : {self.status} "
            f"{self.size} bytes {self.seconds * 1000:.1f} ms"
        )


@dataclass(slots=True)
class ErrorSent(Event):
    """The proxy answered with an error of its own what was no whole request. Counted
    only: why is told by another event, of the request or of the connection.
    """

    counter = RESPONSES
    status: int

    def label(self) -> str:
        """The status."""
        return status_label(self.status)


@dataclass(slots=True)
class RequestFailed(Event):
    """The proxy answered a request with an error of its own. Counted and timed only:
    why is told by another event.
    """

    counter = RESPONSES
    histogram = SECONDS
    timed_as = "failed"
    request: int
    status: int
    seconds: float

    def label(self) -> str:
        """The status."""
        return status_label(self.status)

    def facts(self) -> dict[str, Any]:
        """The fields, the request's number as people and tools see it."""
        return {**Event.facts(self), "request": request_id.shown(self.request)}


@dataclass(slots=True)
class StaleServed(RequestEvent):
    """The upstream has no reply, so the guest got an expired one from the cache.

    `seconds_late`: how long ago it expired.
    """

    counter = Metric(
        "metadata_stale_responses_total",
        "Replies from the cache that guests got although they had expired, because "
        "the upstream had none.",
    )
    seconds_late: float

    def text(self) -> str:
        """Says which guest got the stale response, and how long ago it expired."""
        late = max(self.seconds_late, 0.0)
        return f"Metadata for VM : {self.guest} Stale by {late:.1f} s"

    def is_fault(self) -> bool:
        """True: the upstream has failed."""
        return True


@dataclass(slots=True)
class ChangeAwaited(RequestEvent):
    """The guest has the document already and waits for another one (long poll)."""

    counter = Metric(
        "metadata_long_polls_total",
        "Requests of guests that waited until a document changed.",
    )

    def text(self) -> str:
        """Says which guest waits."""
        return f"Metadata for VM : {self.guest} waits for a change"


@dataclass(slots=True)
class SessionReachedUpstream(Event):
    """The first request of a guest's connection was accepted. Counted only."""

    counter = Metric(
        "metadata_proxy_sessions_total",
        "Connections of guests on which a request was accepted.",
    )


@dataclass(slots=True)
class LocalAnswer(RequestEvent):
    """Base: the proxy answered a request with an error of its own, or cut it."""

    counter = OWN_ERRORS

    def is_fault(self) -> bool:
        """True: the guest did not get what it asked for."""
        return True


@dataclass(slots=True)
class CoalescedFailed(RequestEvent):
    """A request that shared the upstream request of another failed together with it.

    `forwarded` is the number of that other request: why it failed is told of it. Not
    counted, because one failure of the upstream is counted once.
    """

    forwarded: int
    status: int

    def text(self) -> str:
        """The status, and the number of the upstream request whose failure this request
        shared.
        """
        return (
            f"Metadata for VM : {self.guest} Error : {self.status} together with"
            f" request {request_id.shown(self.forwarded)}"
        )

    def facts(self) -> dict[str, Any]:
        """The fields, both numbers as people and tools see them."""
        forwarded = request_id.shown(self.forwarded)
        return {**RequestEvent.facts(self), "forwarded": forwarded}

    def is_fault(self) -> bool:
        """True: the guest did not get what it asked for."""
        return True


@dataclass(slots=True)
class GuestUnknown(LocalAnswer):
    """No port is registered for the connection's source address (404)."""

    def label(self) -> str:
        """Always the same reason."""
        return "unknown-guest"

    def text(self) -> str:
        """Contrail's line, its double semicolon included."""
        return f"Error: Interface Config not available; ; Request for VM : {self.guest}"


@dataclass(slots=True)
class ServiceUnknown(LocalAnswer):
    """There is no metadata service, or it has no endpoint (503)."""

    method: bytes

    def label(self) -> str:
        """Always the same reason."""
        return "no-service"

    def text(self) -> str:
        """Contrail's line."""
        return (
            "Error: Config not available; "
            f"Request Method: {method_number(self.method)}; "
            f"Request for VM : {self.guest}"
        )


@dataclass(slots=True)
class RequestRefused(LocalAnswer):
    """The request broke a rule of HTTP or of the proxy; the connection closes."""

    status: int
    reason: str
    method: bytes

    def label(self) -> str:
        """The status, one of a closed set."""
        return f"refused-{self.status}"

    def text(self) -> str:
        """Contrail's line for a method it cannot serve, else one like it."""
        if self.status == 501:
            return (
                "Error: Unsupported Method; "
                f"Request Method: {method_number(self.method)}; "
                f"Request for VM: {self.guest}"
            )
        reason = printable(self.reason.encode("ascii", "replace"))
        return f"Error: {self.status} {reason}; Request for VM : {self.guest}"


@dataclass(slots=True)
class GuestLimited(LocalAnswer):
    """A request was refused because its guest is over its quota.

    `reason` is `too-fast`, `too-many-requests` or `too-many-long-polls`; the
    status is 429 or 503.
    """

    status: int
    reason: str

    def label(self) -> str:
        """The limit that the guest reached, one of a closed set."""
        return self.reason

    def text(self) -> str:
        """The status, and the limit that the guest reached."""
        return f"Error: {self.status} {self.reason}; Request for VM : {self.guest}"


@dataclass(slots=True)
class GuestCut(LocalAnswer):
    """A guest's connection was closed: it broke a limit, or its port changed."""

    reason: str

    def label(self) -> str:
        """Why the connection was closed, one of a closed set."""
        return self.reason

    def text(self) -> str:
        """Says whose connection was closed, and why."""
        return f"Metadata for VM : {self.guest} Error : {self.reason}"
