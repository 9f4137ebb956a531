"""Gauges of a running agent: numbers that are read from a room when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from vagent.certificates.expiry_watch import CertificateWatch
from vagent.datapath.datapath import DataPath
from vagent.datapath.fast_path.offload import FastPath
from vagent.datapath.trap.flow_limits import FlowLimits
from vagent.judgements.book import JudgementBook
from vagent.judgements.judgement import Severity
from vagent.metadata.proxy import MetadataProxy
from vagent.observe.statistics import Statistics
from vagent.ports.registry import PortRegistry


def add_gauges(
    statistics: Statistics,
    *,
    data_path: DataPath,
    fast_path: FastPath,
    limits: FlowLimits,
    proxy: MetadataProxy,
    registry: PortRegistry,
    judgements: JudgementBook,
    ready: Callable[[], str | None],
) -> None:
    """Register every gauge but those of certificates. Names start with the room's.

    `ready` says why the agent is not ready, None where it is.
    """
    statistics.gauge(
        "ready",
        lambda: int(ready() is None),
        "1 where the agent is ready, as far as it knows without asking the kernel, as"
        " /readyz does; that says why not.",
    )
    _add_kernel_packets(statistics, data_path)
    _add_flows(statistics, limits)
    proxy.upstream_times.show(statistics)
    statistics.gauge(
        "datapath_ipv6",
        lambda: int(data_path.carries_ipv6),
        "1 where this host serves IPv6; the DataPath trace says why it does not.",
    )
    statistics.gauge(
        "datapath_fast_path",
        lambda: int(fast_path.is_open),
        "1 where flows with many packets may take the fast path; the DataPath trace"
        " says why they may not although it is configured.",
    )
    statistics.gauge(
        "datapath_fast_path_flows",
        lambda: len(fast_path),
        "Flows on the fast path.",
    )
    statistics.gauge(
        "metadata_upstream_up_endpoints",
        proxy.endpoints_up,
        "Endpoints of the metadata service that are believed to be well.",
    )
    statistics.gauge(
        "metadata_upstream_endpoints",
        lambda: len(proxy.endpoints()),
        "Endpoints of the metadata service that are provisioned and resolved.",
    )
    statistics.gauge(
        "judgements_wrong",
        lambda: sum(one.severity is Severity.WRONG for one in judgements.current()),
        "Things that stop guests now; /status and vagentctl status say which, and what"
        " mends them.",
    )
    statistics.gauge("ports", lambda: len(registry), "Registered ports.")


def add_certificate_gauges(
    statistics: Statistics, certificates: CertificateWatch, kinds: Iterable[str]
) -> None:
    """One gauge for each kind of certificate that is configured: when it ends."""
    for kind in kinds:
        statistics.gauge(
            f"metadata_{kind.replace('-', '_')}_expiry_timestamp_seconds",
            partial(certificates.end, kind),
            f"When the first certificate of {kind} ends, in seconds since 1970 (UTC).",
        )


def _add_kernel_packets(statistics: Statistics, data_path: DataPath) -> None:
    watch = data_path.watch
    for name in watch.packets:
        statistics.gauge(
            f"datapath_{name}_packets",
            watch.read(name),
            f"Packets counted by the kernel: {name.replace('_', ' ')}.",
        )


def _add_flows(statistics: Statistics, limits: FlowLimits) -> None:
    statistics.gauge(
        "linklocal_flows",
        lambda: limits.counts().now,
        "Flows let in, corrected by the kernel's count: at once at a ceiling, else"
        " every 15 s.",
    )
    statistics.gauge(
        "linklocal_flows_peak",
        lambda: limits.counts().peak,
        "The most that the kernel counted.",
    )
    statistics.gauge(
        "linklocal_flows_refused",
        lambda: limits.counts().refused,
        "Flows that max-system-flows or max-vm-flows kept out.",
    )
    statistics.gauge(
        "linklocal_flows_guests",
        lambda: limits.counts().guests,
        "Guests with flows.",
    )
