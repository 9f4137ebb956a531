"""Promises of introspect.pages.proxy: the values of a snapshot, as people read them."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from introspect.page import Cell, FactTable, Table
from introspect.pages.proxy import proxy_blocks
from vagent.certificates.expiry import Ending
from vagent.certificates.expiry_watch import CertificateSnapshot
from vagent.config.model import SessionMode
from vagent.metadata.snapshot import GuestLimits, GuestSnapshot, ProxySnapshot
from vagent.metadata.upstream.circuit_breaker import BreakerState
from vagent.metadata.upstream.endpoint import EndpointSnapshot, ProbeSnapshot

PROXY = ProxySnapshot(
    port=8097,
    guests=3,
    connections=1_004,
    requests_in_flight=5,
    requests_waiting=6,
    cached_replies=7,
    cached_bytes=8_000,
    cache_hits=9,
    coalesced=10,
    limits=GuestLimits(64, 32, 500.0, 1000),
    session_tokens=SessionMode.OPTIONAL,
    endpoints=(),
    conspicuous=(),
)
UP = EndpointSnapshot("192.0.2.7:8775", "nova", BreakerState.UP, 1, 2, 0, None)
UNTIL = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
CERTIFICATE = CertificateSnapshot(
    Path("/etc/x.pem"), ("client-cert",), Ending("CN=x", UNTIL), 59.4
)


def texts(block: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in block.rows]


def test_nothing_is_shown_of_nothing(world: Any) -> None:
    """Without a proxy and without certificates there is no block."""
    assert () == proxy_blocks(world.sources())


def test_the_state_is_numbers(world: Any) -> None:
    """Each with its name; thousands are readable."""
    world.proxy = PROXY
    state, upstream = proxy_blocks(world.sources())
    assert isinstance(state, FactTable)
    shown = {fact.name: fact.value.text for fact in state.rows}
    assert {
        "Guests connected": "3",
        "Connections of guests": "1,004",
        "Requests in flight": "5",
        "Requests waiting": "6",
        "Cached replies": "7 (8,000 bytes)",
        "Answered from the cache": "9",
        "Coalesced": "10",
        "Limits of one guest": "64 connections, 32 requests in flight,"
        " 500 requests a second, 1000 of them at once",
        "Session tokens": "optional",
    } == shown
    assert isinstance(upstream, Table)
    assert upstream.empty.startswith("No endpoint")


def test_no_rate_is_any_number(world: Any) -> None:
    """A rate of 0 is no limit."""
    world.proxy = replace(PROXY, limits=GuestLimits(1, 1, 0.0, 1))
    state, _ = proxy_blocks(world.sources())
    assert isinstance(state, FactTable)
    (limits,) = [f.value.text for f in state.rows if f.name == "Limits of one guest"]
    assert "any number of requests" in limits


@pytest.mark.parametrize(
    ("state", "tone"),
    [
        (BreakerState.UP, "good"),
        (BreakerState.SUSPECT, "bad"),
        (BreakerState.DOWN, "bad"),
    ],
)
def test_endpoints_are_rows(world: Any, state: BreakerState, tone: Any) -> None:
    """One for each, with its state and the last health check."""
    probe = ProbeSnapshot(3.4, "status 500")
    probed = replace(UP, state=state, last_probe=probe, problem="status 500")
    well = replace(UP, last_probe=ProbeSnapshot(0.0, ""), failures=1_000)
    world.proxy = replace(PROXY, endpoints=(probed, well, UP))
    _, table = proxy_blocks(world.sources())
    assert isinstance(table, Table)
    address = ["192.0.2.7:8775", "nova"]
    assert [
        [*address, state.name, "1", "2", "0", "status 500, 3 s ago", "status 500"],
        [*address, "UP", "1", "2", "1,000", "answered, 0 s ago", ""],
        [*address, "UP", "1", "2", "0", "none yet", ""],
    ] == texts(table)
    assert Cell(state.name, tone=tone) == table.rows[0][2]


def test_guests_that_were_refused_lead_to_their_ports(world: Any) -> None:
    """One that is registered no more leads nowhere."""
    guests = (
        GuestSnapshot("p1", "169.254.64.2", 1, 2, 3, 4),
        GuestSnapshot("", "169.254.64.3", 0, 0, 1, 0),
    )
    world.proxy = replace(PROXY, conspicuous=guests)
    _, _, table = proxy_blocks(world.sources())
    assert isinstance(table, Table)
    assert [
        ["169.254.64.2", "1", "2", "3", "4"],
        ["169.254.64.3", "0", "0", "1", "0"],
    ] == texts(table)
    hrefs = [row[0].href for row in table.rows]
    assert ["/Snh_ItfReq?uuid=p1", ""] == hrefs


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (59.4, Cell("59")),
        (30.0, Cell("30")),
        (29.9, Cell("29", tone="bad")),
        (0.0, Cell("0", tone="bad")),
        (3650.0, Cell("3,650")),
        (-0.1, Cell("expired", tone="bad")),
    ],
)
def test_certificates_are_rows(world: Any, days: float, expected: Cell) -> None:
    """With what is left of them; what ends within the month stands out."""
    world.certificates = (replace(CERTIFICATE, days_left=days),)
    (table,) = proxy_blocks(world.sources())
    assert isinstance(table, Table)
    row = ["/etc/x.pem", "client-cert", "CN=x", "2026-03-04 05:06"]
    assert [[*row, expected.text]] == texts(table)
    assert expected == table.rows[0][4]


def test_a_file_without_a_certificate_is_said(world: Any) -> None:
    """It has no end."""
    world.certificates = (replace(CERTIFICATE, ending=None, days_left=math.nan),)
    (table,) = proxy_blocks(world.sources())
    assert isinstance(table, Table)
    said = "no certificate can be read from it"
    assert [["/etc/x.pem", "client-cert", "", said, ""]] == texts(table)
