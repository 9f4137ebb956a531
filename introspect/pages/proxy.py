"""The state of the metadata proxy for people: guests, endpoints, certificates."""

from __future__ import annotations

import math
from collections.abc import Iterable

from introspect.page import Block, Cell, Column, Fact, FactTable, Table, Tone, link
from introspect.sources import Sources
from vagent.certificates.expiry import SOON
from vagent.certificates.expiry_watch import CertificateSnapshot
from vagent.metadata.snapshot import GuestLimits, GuestSnapshot, ProxySnapshot
from vagent.metadata.upstream.circuit_breaker import BreakerState
from vagent.metadata.upstream.endpoint import EndpointSnapshot

_TONES: dict[BreakerState, Tone] = {
    BreakerState.UP: "good",
    BreakerState.SUSPECT: "bad",
    BreakerState.DOWN: "bad",
}


def proxy_blocks(sources: Sources) -> tuple[Block, ...]:
    """What is known of the proxy now; parts of which there is nothing are left out."""
    proxy = sources.proxy()
    certificates = tuple(sources.certificates())
    blocks: list[Block] = []
    if proxy is not None:
        blocks += [_state(proxy), _endpoints(proxy.endpoints)]
        if proxy.conspicuous:
            blocks.append(_guests(proxy.conspicuous))
    if certificates:
        blocks.append(_certificates(certificates))
    return tuple(blocks)


def _state(proxy: ProxySnapshot) -> FactTable:
    facts = (
        ("Guests connected", f"{proxy.guests:,}", ""),
        ("Connections of guests", f"{proxy.connections:,}", ""),
        ("Requests in flight", f"{proxy.requests_in_flight:,}", "At an endpoint."),
        (
            "Requests waiting",
            f"{proxy.requests_waiting:,}",
            "Held until an endpoint has a connection for them.",
        ),
        (
            "Cached replies",
            f"{proxy.cached_replies:,} ({proxy.cached_bytes:,} bytes)",
            "",
        ),
        ("Answered from the cache", f"{proxy.cache_hits:,}", ""),
        (
            "Coalesced",
            f"{proxy.coalesced:,}",
            "Requests that shared the upstream request of another.",
        ),
        ("Limits of one guest", _limits(proxy.limits), ""),
        ("Session tokens", proxy.session_tokens.value, "A port may have its own mode."),
    )
    return FactTable(
        "Now", tuple(Fact(name, Cell(text), why) for name, text, why in facts)
    )


def _limits(limits: GuestLimits) -> str:
    rate = f"{limits.requests_per_second:g} requests a second"
    return (
        f"{limits.connections} connections, {limits.requests_in_flight} requests in"
        f" flight, {rate if limits.requests_per_second else 'any number of requests'},"
        f" {limits.burst} of them at once"
    )


def _endpoints(endpoints: Iterable[EndpointSnapshot]) -> Table:
    rows = tuple(
        (
            Cell(one.address, tone="code"),
            Cell(one.name),
            Cell(one.state.name, tone=_TONES[one.state]),
            Cell(f"{one.busy:,}"),
            Cell(f"{one.idle:,}"),
            Cell(f"{one.failures:,}"),
            Cell(_probe(one)),
            Cell(one.problem, tone="bad"),
        )
        for one in endpoints
    )
    columns = (
        Column("Endpoint"),
        Column("Certificate for"),
        Column("State"),
        Column("Busy", is_number=True),
        Column("Idle", is_number=True),
        Column("Failed connects", is_number=True),
        Column("Last health check"),
        Column("Last problem"),
    )
    empty = "No endpoint: no metadata service is provisioned."
    return Table("Upstream", columns, rows, empty)


def _probe(endpoint: EndpointSnapshot) -> str:
    probe = endpoint.last_probe
    if probe is None:
        return "none yet"
    return f"{probe.problem or 'answered'}, {probe.seconds_ago:.0f} s ago"


def _guests(guests: Iterable[GuestSnapshot]) -> Table:
    rows = tuple(
        (
            Cell(one.identity, _port(one.port_id), "code"),
            Cell(f"{one.connections:,}"),
            Cell(f"{one.requests_in_flight:,}"),
            Cell(f"{one.limited:,}"),
            Cell(f"{one.missed:,}"),
        )
        for one in guests
    )
    columns = (
        Column("Identity"),
        Column("Connections", is_number=True),
        Column("In flight", is_number=True),
        Column("Refused over its limits", is_number=True),
        Column("Would need a session token", is_number=True),
    )
    return Table("Guests that were refused most", columns, rows)


def _port(port_id: str) -> str:
    return link("ItfReq", uuid=port_id) if port_id else ""


def _certificates(certificates: Iterable[CertificateSnapshot]) -> Table:
    rows = tuple(
        (
            Cell(str(one.path), tone="code"),
            Cell(", ".join(one.kinds)),
            Cell("" if one.ending is None else one.ending.subject),
            _until(one),
            _days(one),
        )
        for one in certificates
    )
    columns = (
        Column("File"),
        Column("Element of agent.conf"),
        Column("Subject"),
        Column("Valid until (UTC)"),
        Column("Days left", is_number=True),
    )
    return Table("Certificates", columns, rows)


def _until(one: CertificateSnapshot) -> Cell:
    if one.ending is None:
        return Cell("no certificate can be read from it", tone="bad")
    return Cell(f"{one.ending.until:%Y-%m-%d %H:%M}", tone="whole")


def _days(one: CertificateSnapshot) -> Cell:
    if one.ending is None:
        return Cell("")
    if one.days_left < 0:
        return Cell("expired", tone="bad")
    tone: Tone = "bad" if one.days_left < SOON.days else ""
    return Cell(f"{math.floor(one.days_left):,}", tone=tone)
