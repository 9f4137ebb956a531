"""One endpoint: how it is named to the server, and which connection is used again."""

from __future__ import annotations

from typing import Any

import pytest

from vagent.metadata.limits import MAX_UPSTREAM_CONNECTIONS
from vagent.metadata.upstream.circuit_breaker import BreakerState
from vagent.metadata.upstream.endpoint import ProbeSnapshot, UpstreamEndpoint
from vagent.metadata.upstream.target import HostPort

NOBODY: Any = None


class Connection:
    """A pooled connection."""

    guest = None
    is_bound = False
    is_open = True

    def close(self) -> None:
        self.is_open = False


def endpoint(host: str = "192.0.2.1", name: str = "", port: int = 80) -> Any:
    """Its idle connections may be those of this test."""
    address = HostPort(host, port)
    return UpstreamEndpoint(NOBODY, address, name or host, default_port=80)


@pytest.mark.parametrize(
    ("host", "name", "port", "expected", "is_named"),
    [
        ("192.0.2.1", "", 80, b"192.0.2.1", False),
        ("192.0.2.1", "", 8775, b"192.0.2.1:8775", False),
        ("2001:db8::1", "", 80, b"[2001:db8::1]", False),
        ("2001:db8::1", "", 8775, b"[2001:db8::1]:8775", False),
        ("192.0.2.1", "nova.example", 80, b"nova.example", False),
        ("nova.example", "", 8775, b"nova.example:8775", True),
        ("növa.example", "", 80, b"xn--nva-sna.example", True),
    ],
)
def test_the_host_that_it_is_asked_for(
    host: str, name: str, port: int, expected: bytes, *, is_named: bool
) -> None:
    """Its name, or its address; the port only where it is not the usual one."""
    one = endpoint(host, name, port)
    assert (expected, is_named) == (one.host, one.is_named)


def test_a_retired_endpoint_keeps_no_idle_connection() -> None:
    """They are closed in good order."""
    one = endpoint()
    idle = [Connection(), Connection()]
    for each in idle:
        one.idle.add(each)
    one.retire()
    assert (True, 0) == (one.retired, len(one.idle))
    assert [False, False] == [each.is_open for each in idle]


def test_its_picture() -> None:
    """State, load, and what the last health check found."""
    one = endpoint(port=8775)
    one.breaker.busy = 2
    assert "192.0.2.1:8775 UP busy=2 idle=0" in repr(one)
    assert one.snapshot(15.0, "").last_probe is None
    one.probed = (10.0, "status 500")
    one.problem = "timeout"
    found = one.snapshot(15.0, "client.pem")
    assert ("timeout", "client.pem", False) == (
        found.problem,
        found.certificate,
        found.is_refused,
    )
    assert BreakerState.UP is found.state
    assert ("192.0.2.1:8775", 2) == (found.address, found.busy)
    assert ProbeSnapshot(5.0, "status 500") == found.last_probe


@pytest.mark.parametrize(("missing", "is_full"), [(1, False), (0, True)])
def test_how_many_connections_it_may_have(missing: int, *, is_full: bool) -> None:
    """Those that are being opened count."""
    one = endpoint()
    one.breaker.connecting = 28
    one.connections = {Connection() for _ in range(100 - missing)}
    assert MAX_UPSTREAM_CONNECTIONS - missing == 128 - missing
    assert is_full is one.is_full


def test_what_those_who_wait_can_count_on() -> None:
    """Connections that are being opened, and those that close."""
    one = endpoint()
    connections = [Connection() for _ in range(5)]
    one.connections = set(connections)
    one.idle.add(connections[0])
    one.breaker.busy, one.breaker.connecting = 2, 3
    assert 3 + (5 - 1 - 2) == one.coming
