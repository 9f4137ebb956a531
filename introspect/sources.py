"""Where pages get their facts: call-backs and snapshots from the composition root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from vagent.certificates.expiry_watch import CertificateSnapshot
from vagent.datapath.endpoints.health import EndpointState
from vagent.datapath.flows.flow import FlowList
from vagent.datapath.tap.who.refusals import Refusal
from vagent.judgements.judgement import Judgement
from vagent.linklocal.service import LinkLocalService
from vagent.linklocal.table import NotInForce
from vagent.metadata.snapshot import ProxySnapshot
from vagent.observe.statistics import Statistics
from vagent.observe.traces import TraceBuffers
from vagent.ports.port import Registration


@dataclass(slots=True)
class Baseline:
    """What the metadata counters were when an operator last cleared them.

    Prometheus needs counters that never fall, so clearing moves this instead.
    """

    counts: dict[str, int] = field(default_factory=dict)


async def no_flows(_registration: Registration | None) -> FlowList:
    """No flows: for an agent without a data path."""
    return FlowList()


async def no_look() -> None:
    """Nothing to look at: for an agent without a data path."""


def no_proxy() -> None:
    """No proxy: for an agent without a metadata proxy."""


def no_endpoints(_service: LinkLocalService) -> Iterable[EndpointState]:
    """No endpoints: for an agent without a data path."""
    return ()


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that introspection shows.

    `metadata_port` is the port that the proxy listens on. `port_state` is `Active` or,
    as Contrail writes it, why not (`Inactive < no-dev >`). `ready` is None, or says why
    the agent is not ready by the last look, for which `look` asks the kernel.
    `proxy` is None without a metadata proxy. `flows` reads one port's flows or all from
    the kernel, later; it raises KernelError and LimitError.
    `judgements` are what is wrong now, the worst first; `refusals` what was refused at
    the taps, the latest first.
    `endpoints_of` gives a service's fabric endpoints and how they are, `not_in_force`
    the services that guests cannot use, and why.
    """

    metadata_port: Callable[[], int]
    services: Callable[[], Iterable[LinkLocalService]]
    registrations: Callable[[], Iterable[Registration]]
    port_state: Callable[[Registration], str]
    traces: TraceBuffers
    statistics: Statistics
    ready: Callable[[], str | None]
    version: str
    look: Callable[[], Awaitable[None]] = no_look
    proxy: Callable[[], ProxySnapshot | None] = no_proxy
    certificates: Callable[[], Iterable[CertificateSnapshot]] = tuple
    flows: Callable[[Registration | None], Awaitable[FlowList]] = no_flows
    endpoints_of: Callable[[LinkLocalService], Iterable[EndpointState]] = no_endpoints
    not_in_force: Callable[[], Iterable[NotInForce]] = tuple
    judgements: Callable[[], Sequence[Judgement]] = tuple
    refusals: Callable[[], Sequence[Refusal]] = tuple
    baseline: Baseline = field(default_factory=Baseline)
