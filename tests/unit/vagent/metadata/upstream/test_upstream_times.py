"""How long requests take at the upstream, and that every end of one is timed."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from tests.unit.vagent.metadata.proxy_rig import GET, HELLO, Rig
from vagent.metadata.upstream.events import RequestHeld
from vagent.observe.statistics import AT_A_TIME, Statistics

UPSTREAM = "metadata_upstream_seconds"
PART = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"
CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"


def timed(rig: Rig) -> dict[str, tuple[int, float]]:
    """How many requests by outcome, and their seconds in sum."""
    statistics = Statistics()
    rig.proxy.upstream_times.show(statistics)
    found = statistics.snapshot().histograms
    assert {"outcome"} == {one.label for one in found}
    return {one.value: (one.count, one.total) for one in found if one.name == UPSTREAM}


@pytest.mark.parametrize("reply", [HELLO, CLOSE])
def test_from_sent_to_complete(reply: bytes) -> None:
    """Whether the connection is kept or not; nothing is timed before the last byte."""
    rig = Rig()
    guest, _ = rig.guest()
    guest.dataReceived(GET)
    rig.clock.advance(0.5)
    rig.connections[0].dataReceived(reply[:-1])
    assert {"answered": (0, 0.0), "failed": (0, 0.0)} == timed(rig)
    rig.clock.advance(0.25)
    rig.connections[0].dataReceived(reply[-1:])
    assert {"answered": (1, 0.75), "failed": (0, 0.0)} == timed(rig)


@pytest.mark.parametrize("sent", [b"", b"nonsense\r\n\r\n", PART])
def test_a_failure_is_timed_too(sent: bytes) -> None:
    """No reply, none that is HTTP, and one that breaks off."""
    rig = Rig()
    guest, _ = rig.guest()
    guest.dataReceived(GET)
    rig.clock.advance(1.5)
    connection = rig.connections[0]
    connection.dataReceived(sent) if sent else None
    if sent != b"nonsense\r\n\r\n":
        connection.connectionLost(Failure(ConnectionLost()))
    assert (1, 1.5) == timed(rig)["failed"]


def test_a_connection_times_each_of_its_requests() -> None:
    """From when that one was sent; many are counted as one is."""
    rig = Rig(guest_request_rate=0.0)
    guest, _ = rig.guest()
    for _ in range(AT_A_TIME + 1):
        guest.dataReceived(GET)
        rig.clock.advance(0.125)
        rig.connections[0].dataReceived(HELLO)
        rig.clock.advance(2)
    count = AT_A_TIME + 1
    pending = rig.proxy.upstream_times.answered.pending
    assert 1 == len(pending)
    assert (count, count / 8) == timed(rig)["answered"]


def test_a_health_check_is_not_timed() -> None:
    """It asks something else than guests do."""
    rig = Rig(probe_interval=5.0)
    rig.advance(6)
    assert rig.upstreams[0].sent
    rig.connections[0].dataReceived(HELLO)
    assert {"answered": (0, 0.0), "failed": (0, 0.0)} == timed(rig)


def test_connections_are_a_metric_of_their_own() -> None:
    """Both outcomes; the first request here had to wait for the one that was opened."""
    rig = Rig()
    guest, _ = rig.guest()
    guest.dataReceived(GET)
    statistics = Statistics()
    rig.proxy.upstream_times.show(statistics)
    assert [("connected", 1), ("failed", 0)] == [
        (one.value, one.count)
        for one in statistics.snapshot().histograms
        if one.name == "metadata_upstream_connect_seconds"
    ]
    assert [0.0] == [e.seconds for e in rig.events if isinstance(e, RequestHeld)]
