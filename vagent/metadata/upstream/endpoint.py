"""One endpoint of the target, and the connections that are open to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vagent.metadata.limits import MAX_UPSTREAM_CONNECTIONS
from vagent.metadata.upstream.circuit_breaker import BreakerState, CircuitBreaker
from vagent.metadata.upstream.idle_connections import IdleConnections
from vagent.metadata.upstream.target import HostPort

if TYPE_CHECKING:
    from vagent.metadata.upstream.connection import UpstreamConnection
    from vagent.metadata.upstream.pool import ConnectionPool


@dataclass(frozen=True, slots=True)
class ProbeSnapshot:
    """The last health check of an endpoint: `problem` is "" if it was answered."""

    seconds_ago: float
    problem: str


@dataclass(frozen=True, slots=True)
class EndpointSnapshot:
    """One endpoint. `busy` and `idle` are connections; `failures` counts connects that
    failed in a row. `last_probe` is None before the first health check has ended.
    `problem` is what went wrong last, "" if a reply came since; `is_refused`: that was
    our client certificate. `certificate` is the one that it is shown, in words, "" for
    none.
    """

    address: str
    name: str
    state: BreakerState
    busy: int
    idle: int
    failures: int
    last_probe: ProbeSnapshot | None
    problem: str = ""
    is_refused: bool = False
    certificate: str = ""


class UpstreamEndpoint:
    """An endpoint. Its connections report to `pool`.

    Its certificate must be for `name`; `host` is the Host field of its requests,
    without the port where that is `default_port`. `is_named`: its address is a name,
    which each connect resolves. `is_probing`: a health check is under way; `probed`
    says when the last one ended, and what was wrong ("" for nothing). `problem` is what
    went wrong last, in words; "" once a reply came. A `retired` endpoint is no longer
    part of the target: its connections are not pooled any more.
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
        "problem",
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
        self.problem = ""
        self.connections: set[UpstreamConnection] = set()
        self.idle = IdleConnections()
        self.retired = False

    @property
    def is_full(self) -> bool:
        """Are there as many connections, open and coming, as there may be?"""
        opened = len(self.connections) + self.breaker.connecting
        return opened >= MAX_UPSTREAM_CONNECTIONS

    @property
    def coming(self) -> int:
        """New connections that waiting requests can count on: those that are being
        opened, and those that will be when one that is closing has gone.
        """
        leaving = len(self.connections) - self.breaker.busy - len(self.idle)
        return self.breaker.connecting + max(leaving, 0)

    def retire(self) -> None:
        """Close what is idle; what is busy closes after its response."""
        self.retired = True
        self.idle.close()

    def snapshot(self, now: float, certificate: str) -> EndpointSnapshot:
        """The endpoint as it is now, and the client certificate that it is shown."""
        last_probe = None
        if self.probed is not None:
            when, problem = self.probed
            last_probe = ProbeSnapshot(now - when, problem)
        return EndpointSnapshot(
            address=str(self.address),
            name=self.name,
            state=self.breaker.state,
            busy=self.breaker.busy,
            idle=len(self.idle),
            failures=self.breaker.failures,
            last_probe=last_probe,
            problem=self.problem,
            is_refused=self.breaker.is_refused,
            certificate=certificate,
        )

    def __repr__(self) -> str:
        return (
            f"<UpstreamEndpoint {self.address} {self.breaker.state.name} "
            f"busy={self.breaker.busy} idle={len(self.idle)}>"
        )
