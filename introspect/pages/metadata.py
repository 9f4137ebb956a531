"""The metadata proxy: its counters, its latency, and clearing the counters.

`metadata_responses` counts replies of the metadata service and of the cache, without
the errors of the proxy's own; Contrail's counts the pieces that it relays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from introspect.page import Bars, Block, Page, blocks_of
from introspect.pages.judgements import judgement_blocks
from introspect.pages.proxy import proxy_blocks
from introspect.schema import attribute
from introspect.sources import Sources
from vagent.config.metadata_address import METADATA_ADDRESS
from vagent.observe.statistics import HistogramSnapshot, Snapshot

LATENCY = "metadata_request_seconds"
ERRORS = "metadata_internal_errors_total"


@dataclass(frozen=True, slots=True)
class MetadataResponse:
    """Contrail's `MetadataResponse`."""

    metadata_server_port: int = attribute(
        "i32", 1, title="Local port", note="Guests' connections arrive here after NAT."
    )
    metadata_requests: int = attribute(
        "i32", 2, title="Requests", note="Requests read from guests, refused included."
    )
    metadata_responses: int = attribute(
        "i32", 3, title="Responses", note="Replies of the metadata service relayed."
    )
    metadata_proxy_sessions: int = attribute(
        "i32", 4, title="Proxy sessions", note="Guest connections that were forwarded."
    )
    metadata_internal_errors: int = attribute(
        "i32", 5, title="Internal errors", note="Answers the agent had to make itself."
    )


@dataclass(frozen=True, slots=True)
class PktErrorResp:
    """Contrail's answer to ClearAllInfo."""

    resp: str = attribute("string", 1, title="Result")


def metadata_info(sources: Sources, _arguments: Mapping[str, str]) -> Page:
    """Counters since the start or since they were cleared."""
    snapshot = sources.statistics.snapshot()
    since = sources.baseline.counts
    counts = _counts(snapshot)
    numbers = (count - since.get(name, 0) for name, count in counts.items())
    response = MetadataResponse(sources.metadata_port(), *numbers)
    return Page(
        "Metadata proxy",
        f"What guests asked of {METADATA_ADDRESS}, and what became of it.",
        (response,),
        (
            *judgement_blocks(sources.judgements()),
            *blocks_of(response),
            *proxy_blocks(sources),
            *_errors(snapshot),
            *_latency(snapshot),
        ),
    )


def clear_all_info(sources: Sources, _arguments: Mapping[str, str]) -> Page:
    """Start the counters of MetadataInfo at 0 again."""
    snapshot = sources.statistics.snapshot()
    sources.baseline.counts.update(_counts(snapshot))
    return Page(
        "Counters cleared",
        "The metadata counters start again at 0; /metrics goes on counting.",
        (PktErrorResp("   Success !!!   "),),
    )


def _counts(snapshot: Snapshot) -> dict[str, int]:
    """The counters of MetadataResponse in their order."""
    return {
        "metadata_requests_total": snapshot.total("metadata_requests_total"),
        LATENCY: snapshot.observed(LATENCY, "answered"),
        "metadata_proxy_sessions_total": snapshot.total(
            "metadata_proxy_sessions_total"
        ),
        ERRORS: snapshot.total(ERRORS),
    }


def _errors(snapshot: Snapshot) -> tuple[Block, ...]:
    rows = next((each.values for each in snapshot.counters if each.name == ERRORS), ())
    named = tuple((reason or "no reason given", count) for reason, count in rows)
    return (
        (Bars("Internal errors by reason", named),) if any(r[1] for r in rows) else ()
    )


def _latency(snapshot: Snapshot) -> tuple[Block, ...]:
    found = snapshot.histogram(LATENCY)
    caption = "Time to answer, errors of the proxy's own included"
    return () if found is None else (latency_bars(found, caption),)


def latency_bars(histogram: HistogramSnapshot, caption: str) -> Bars:
    """The histogram per bucket instead of cumulated, empty ends left out."""
    rows: list[tuple[str, int]] = []
    below = 0
    for bound, running in histogram.buckets:
        rows.append((f"up to {readable(bound)}", running - below))
        below = running
    rows.append(("longer", histogram.count - below))
    while rows and not rows[-1][1]:
        rows.pop()
    mean = readable(histogram.total / histogram.count) if histogram.count else "–"
    return Bars(
        caption, tuple(rows), f"{histogram.count:,} observed, {mean} on average."
    )


def readable(seconds: float) -> str:
    """A duration with a fitting unit."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
