"""One endpoint of the target, and the connections that are open to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vagent.metadata.upstream.circuit_breaker import CircuitBreaker
from vagent.metadata.upstream.target import HostPort

if TYPE_CHECKING:
    from vagent.metadata.upstream.connection import UpstreamConnection
    from vagent.metadata.upstream.pool import ConnectionPool


@dataclass(frozen=True, slots=True)
class EndpointSnapshot:
    """One endpoint, for people. `failures` counts failed connects in a row."""

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
    """An endpoint. Its connections tell `pool` what becomes of them.

    Its certificate must be for `name`; `host` is the Host field of its requests,
    without the port where that is `default_port`. `is_named`: its address is a name,
    which each connect resolves. `is_probing`: a health check is under way; `probed`
    says when the last one ended, and how. A `retired` endpoint is no longer part of the
    target: its connections are not pooled any more.
    """

    __slots__ = (
        "address",
        "breaker",
        "connections",
        "host",
        "idle",
        "is_named",
        "is_probing",
        "name",
        "pool",
        "probed",
        "retired",
    )

    def __init__(
        self, pool: ConnectionPool, address: HostPort, name: str, *, default_port: int
    ) -> None:
        self.pool = pool
        self.address = address
        self.name = name
        host = HostPort(name, address.port)
        bare = str(host).rpartition(":")[0]
        text = bare if address.port == default_port else str(host)
        self.host = text.encode("idna" if not host.is_address else "ascii")
        self.is_named = not address.is_address
        self.breaker = CircuitBreaker()
        self.is_probing = False
        self.probed: tuple[float, str] | None = None
        self.connections: set[UpstreamConnection] = set()
        self.idle: list[UpstreamConnection] = []
        self.retired = False

    def take_idle(self) -> UpstreamConnection | None:
        """The idle connection that was used last, if one is open."""
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open:
                return connection
        return None

    def retire(self) -> None:
        """Close what is idle; what is busy closes after its response."""
        self.retired = True
        while self.idle:
            self.idle.pop().close()

    def snapshot(self, now: float) -> EndpointSnapshot:
        """The endpoint as it is now."""
        when, what = self.probed or (now, "")
        return EndpointSnapshot(
            address=str(self.address),
            name=self.name,
            state=self.breaker.state.name,
            busy=self.breaker.busy,
            idle=len(self.idle),
            failures=self.breaker.failures,
            probed=f"{what} {now - when:.0f} s ago" if what else "",
        )

    def __repr__(self) -> str:
        return (
            f"<UpstreamEndpoint {self.address} {self.breaker.state.name} "
            f"busy={self.breaker.busy} idle={len(self.idle)}>"
        )
