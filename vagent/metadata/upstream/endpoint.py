"""One endpoint of the target and the connections that are open to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vagent.metadata.upstream.circuit_breaker import CircuitBreaker
from vagent.metadata.upstream.connection import UpstreamConnection
from vagent.metadata.upstream.health_check import Probe
from vagent.metadata.upstream.retry_policy import UpstreamFailure
from vagent.metadata.upstream.target import HostPort


class Owner(Protocol):
    """The pool, as an endpoint sees it."""

    def freed(
        self,
        endpoint: UpstreamEndpoint,
        connection: UpstreamConnection,
        *,
        reusable: bool,
    ) -> None:
        """A request on one of its connections was answered."""

    def failed(
        self, endpoint: UpstreamEndpoint, failure: UpstreamFailure, detail: str
    ) -> None:
        """A request on one of its connections failed."""

    def abandoned(self, endpoint: UpstreamEndpoint) -> None:
        """Nobody waits for the reply of a request on one of its connections."""

    def gone(
        self, endpoint: UpstreamEndpoint, connection: UpstreamConnection, refusal: str
    ) -> None:
        """One of its connections is closed."""


@dataclass(frozen=True, slots=True)
class EndpointSnapshot:
    """One endpoint, for people. `failures` to connect are those in a row."""

    address: str
    name: str
    state: str
    busy: int
    idle: int
    failures: int
    probed: str

    def text(self) -> str:
        """All of it in a line."""
        failed = f", {self.failures} failed connects" if self.failures else ""
        probed = f", probe {self.probed}" if self.probed else ""
        return f"{self.state}, {self.busy} busy, {self.idle} idle{failed}{probed}"


class UpstreamEndpoint:
    """`name` is what its certificate must be for; `host` the Host header it is sent.

    Once `retired` (no longer part of the target) its connections are not pooled.
    """

    __slots__ = (
        "_owner",
        "address",
        "connections",
        "host",
        "idle",
        "name",
        "probe",
        "probed",
        "record",
        "retired",
    )

    def __init__(
        self, owner: Owner, address: HostPort, name: str, *, default_port: int
    ) -> None:
        self._owner = owner
        self.address = address
        self.name = name
        host = HostPort(name, address.port)
        bare = str(host).rpartition(":")[0]
        text = bare if address.port == default_port else str(host)
        self.host = text.encode("idna" if not host.is_address else "ascii")
        self.record = CircuitBreaker()
        self.probe: Probe | None = None
        self.probed: tuple[float, str] | None = None
        self.connections: set[UpstreamConnection] = set()
        self.idle: list[UpstreamConnection] = []
        self.retired = False

    def freed(self, connection: UpstreamConnection, *, reusable: bool) -> None:
        """See `Keeper`."""
        self._owner.freed(self, connection, reusable=reusable)

    def failed(
        self, connection: UpstreamConnection, failure: UpstreamFailure, detail: str
    ) -> None:
        """See `Keeper`."""
        del connection  # its end is told by `gone`
        self._owner.failed(self, failure, detail)

    def abandoned(self, connection: UpstreamConnection) -> None:
        """See `Keeper`."""
        del connection  # its end is told by `gone`
        self._owner.abandoned(self)

    def gone(self, connection: UpstreamConnection, refusal: str) -> None:
        """See `Keeper`."""
        self._owner.gone(self, connection, refusal)

    def take_idle(self) -> UpstreamConnection | None:
        """The connection used last, if it is still open."""
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open:
                return connection
        return None

    @property
    def may_probe(self) -> bool:
        """Is no probe on its way? One that hangs must not bring others."""
        return self.probe is None or self.probe.is_over

    def retire(self) -> None:
        """Close what is idle; what is busy closes after its reply."""
        self.retired = True
        while self.idle:
            self.idle.pop().close()

    def snapshot(self, now: float) -> EndpointSnapshot:
        """The endpoint as it is now."""
        when, what = self.probed or (now, "")
        return EndpointSnapshot(
            address=str(self.address),
            name=self.name,
            state=self.record.health.name,
            busy=self.record.busy,
            idle=len(self.idle),
            failures=self.record.failures,
            probed=f"{what} {now - when:.0f} s ago" if what else "",
        )

    def __repr__(self) -> str:
        return (
            f"<Endpoint {self.address} {self.record.health.name} "
            f"busy={self.record.busy} idle={len(self.idle)}>"
        )
