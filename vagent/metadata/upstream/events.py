"""What is reported of the upstream: its endpoints, and requests that failed there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vagent.metadata import request_id
from vagent.metadata.events import (
    LocalAnswer,
    MetadataEvent,
    RequestEvent,
    printable,
)
from vagent.metadata.upstream.circuit_breaker import BreakerState
from vagent.metadata.upstream.refusal import RefusalKind
from vagent.observe.event import Event, Metric


@dataclass(slots=True)
class ForwardFailed(LocalAnswer):
    """The upstream gave no usable reply; `detail` is what went wrong, in words."""

    reason: str
    detail: str

    def label(self) -> str:
        """The kind of failure, one of a closed set."""
        return self.reason

    def text(self) -> str:
        """Contrail's line."""
        detail = printable(self.detail.encode("ascii", "replace"))
        return f"Metadata for VM : {self.guest} Error : {self.reason}: {detail}"


@dataclass(slots=True)
class HoldEvent(Event):
    """Base: a request waits for a connection no longer. Timed only."""

    histogram = Metric(
        "metadata_held_seconds",
        "Seconds that requests waited for a connection to an endpoint, of those that "
        "had to, until they were sent (outcome sent), or their time was over or their "
        "guest had left (failed).",
        label="outcome",
    )
    request: int
    seconds: float

    def facts(self) -> dict[str, Any]:
        """The fields, the request's number as people and tools see it."""
        return {**Event.facts(self), "request": request_id.shown(self.request)}


@dataclass(slots=True)
class RequestHeld(HoldEvent):
    """A request that waited was sent."""

    timed_as = "sent"


@dataclass(slots=True)
class HeldInVain(HoldEvent):
    """A request that waited got no connection: its time is over, or its guest left."""

    timed_as = "failed"


@dataclass(slots=True)
class UpstreamRefused(RequestEvent):
    """The upstream answered with an error that shows a fault of the setup: another
    shared secret, an unknown instance, a web server that lets nobody in.

    Not logged: each request of a guest may meet it; judgements tell it once.
    """

    counter = Metric(
        "metadata_upstream_refusals_total",
        "Errors of the upstream that show a fault of the setup (shared secret, "
        "instance or tenant, client certificate, web servers between), by kind.",
    )
    endpoint: str
    status: int
    kind: RefusalKind
    header: str
    detail: str
    remedy: str

    def label(self) -> str:
        """The kind, one of a closed set."""
        return self.kind.value

    def text(self) -> str:
        """Whose request, by which endpoint, with what, and what it means."""
        return (
            f"Metadata for VM : {self.guest} Refused by {self.endpoint} : "
            f"{self.status} {self.detail}"
        )

    def is_fault(self) -> bool:
        """True: the guest did not get what it asked for."""
        return True


@dataclass(slots=True)
class UpstreamEndpointFailed(MetadataEvent):
    """An endpoint became suspect because a request to it failed.

    Not logged: guests can provoke it at will. `endpoint` is `address:port`.
    """

    counter = Metric(
        "metadata_upstream_suspected_total",
        "Times that an endpoint of the metadata service became suspect because a "
        "request to it failed.",
    )
    endpoint: str
    detail: str

    def text(self) -> str:
        """Names the endpoint and says what happened."""
        return f"Metadata upstream {self.endpoint} failed a request: {self.detail}"

    def is_fault(self) -> bool:
        """True: the endpoint has failed."""
        return True


@dataclass(slots=True)
class UpstreamEndpointProbed(Event):
    """An active health check of an endpoint is over; `detail` is "" if it passed.

    Counted only: that a state changes is another event.
    """

    counter = Metric(
        "metadata_upstream_probes_total",
        "Active health checks of the metadata service's endpoints, by outcome: "
        "answered or failed.",
    )
    endpoint: str
    detail: str

    def label(self) -> str:
        """Whether the health check was answered."""
        return "failed" if self.detail else "answered"

    def text(self) -> str:
        """Names the endpoint and says what was wrong."""
        return f"Metadata upstream {self.endpoint} probed: {self.detail or 'answered'}"


@dataclass(slots=True)
class UpstreamEndpointChanged(MetadataEvent):
    """An endpoint of the metadata service went down, or came back.

    Not logged: an endpoint that stays down is a judgement, which is told once.
    """

    counter = Metric(
        "metadata_upstream_changes_total",
        "Times that an endpoint of the metadata service went down or came back, by "
        "its new state.",
    )
    endpoint: str
    state: BreakerState
    detail: str

    def label(self) -> str:
        """The new state."""
        return self.state.name

    def text(self) -> str:
        """Names the endpoint and says its new state and the reason."""
        return f"Metadata upstream {self.endpoint} is {self.state.name}: {self.detail}"

    def is_fault(self) -> bool:
        """True unless the endpoint came back."""
        return self.state is not BreakerState.UP


@dataclass(slots=True)
class InstanceAwaited(RequestEvent):
    """The upstream does not know the instance of a registered port yet, so the request
    waits for it, at most for hold-time.
    """

    counter = Metric(
        "metadata_awaited_instances_total",
        "Requests that waited because the embedded metadata server did not know the "
        "instance of their port yet.",
    )
    instance: str

    def text(self) -> str:
        """Whose request waits, and for which instance."""
        return f"Metadata for VM : {self.guest} waits for instance {self.instance}"


@dataclass(slots=True)
class UpstreamNotUsed(MetadataEvent):
    """The name of an endpoint resolves to an address that is not asked: one of the
    agent's own servers, a guest's identity, or one at which no server can be.
    """

    counter = Metric(
        "metadata_upstream_names_not_used_total",
        "Times that the name of an endpoint of nova-api resolved to an address that is "
        "not used: an own server of the agent, an identity, or not unicast.",
    )
    level = "error"
    name: str
    address: str
    port: int
    detail: str

    def text(self) -> str:
        """What the name is, and what to do."""
        return (
            f"Metadata upstream {self.name} is {self.address} port {self.port}, which "
            f"is not used: it {self.detail}. Provision the name or address of nova-api"
        )
