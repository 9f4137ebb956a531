"""Active health checks: when endpoints are probed, and what a probe shows."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from tests.unit.vagent.metadata.upstream.pool_rig import (
    HELLO,
    Rig,
)
from vagent.metadata.limits import QUIET_SECONDS
from vagent.metadata.upstream.endpoint import ProbeSnapshot
from vagent.metadata.upstream.events import UpstreamEndpointProbed

INTERVAL = 10
PROBE = b"GET / HTTP/1.1\r\nHost: 127.0.0.%d\r\nUser-Agent: vagent-probe\r\n\r\n"


def probes(rig: Rig) -> list[str]:
    """What became of them."""
    return [
        one.label() for one in rig.events if isinstance(one, UpstreamEndpointProbed)
    ]


def last_probe(rig: Rig, number: int = 0) -> ProbeSnapshot:
    found = rig.proxy.snapshot().endpoints[number].last_probe
    assert found is not None
    return found


def test_no_probe_unless_wanted() -> None:
    """Off by default: an idle agent does not talk."""
    rig = Rig()
    rig.advance(60)
    assert [] == rig.attempts


def test_every_endpoint_is_probed_in_rounds_without_identity() -> None:
    """Nothing of a guest and no secret is in a probe; its connection is then used."""
    rig = Rig("127.0.0.1", "127.0.0.2", probe_interval=INTERVAL)
    rig.advance(0.25)
    for number in (0, 1):
        upstream, transport = rig.connect(number)
        assert PROBE % (number + 1) == transport.value()
        upstream.dataReceived(HELLO)
    assert ["answered"] * 2 == probes(rig)
    assert ["UP"] * 2 == rig.states()
    rig.reactor.advance(2 * QUIET_SECONDS)
    rig.ask()
    assert 2 == len(rig.attempts)
    rig.advance(INTERVAL - 0.25)
    assert 2 == len(rig.attempts)
    rig.advance(0.25)
    assert 4 == len(rig.attempts)
    probe = last_probe(rig)
    assert "" == probe.problem
    assert pytest.approx(INTERVAL, abs=0.25) == probe.seconds_ago


def test_a_dead_endpoint_is_known_before_a_guest_finds_it() -> None:
    """Nobody waits for the connect that fails."""
    rig = Rig("127.0.0.1", "127.0.0.2", probe_interval=INTERVAL)
    rig.advance(0.25)
    rig.refuse(0)
    rig.connect(1)[0].dataReceived(HELLO)
    assert ["DOWN", "UP"] == rig.states()
    assert 1 == rig.proxy.endpoints_up()
    assert ["failed", "answered"] == probes(rig)
    for peer in ("169.254.64.2", "169.254.64.3"):
        rig.ask(peer)
    assert "127.0.0.1" not in rig.attempts[2:]


@pytest.mark.parametrize("status", [404, 403, 200])
def test_any_answer_is_an_answer(status: int) -> None:
    """The upstream may not be Nova itself."""
    rig = Rig(probe_interval=INTERVAL)
    rig.advance(0.25)
    head = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status
    rig.connect(0)[0].dataReceived(head)
    assert (["answered"], ["UP"]) == (probes(rig), rig.states())


@pytest.mark.parametrize("status", [500, 503])
def test_a_probe_s_server_error_is_the_endpoint_s_fault(status: int) -> None:
    """Nothing about the request can have caused it; the other endpoint goes first."""
    rig = Rig("127.0.0.1", "127.0.0.2", probe_interval=INTERVAL)
    rig.advance(0.25)
    head = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status
    rig.connect(0)[0].dataReceived(head)
    rig.connect(1)
    assert ["SUSPECT", "UP"] == rig.states()
    assert ProbeSnapshot(0.0, f"status {status}") == last_probe(rig)


@pytest.mark.parametrize(
    "words",
    [b"The SSL certificate error", b"plain HTTP request was sent to HTTPS port"],
)
def test_a_web_server_that_wants_other_tls_is_found(words: bytes) -> None:
    """nginx says so over HTTP: the endpoint is reached, and serves nobody."""
    rig = Rig("127.0.0.1", "127.0.0.2", probe_interval=INTERVAL)
    rig.advance(0.25)
    head = b"HTTP/1.1 400 X\r\nContent-Length: %d\r\n\r\n%b" % (len(words), words)
    rig.connect(0)[0].dataReceived(head)
    rig.connect(1)
    assert ["SUSPECT", "UP"] == rig.states()
    assert last_probe(rig).problem.startswith("status 400: the ")


def test_a_probe_that_hangs_brings_no_others() -> None:
    """One at a time for each endpoint; it ends with the response timeout."""
    rig = Rig(probe_interval=1, response_timeout=5.0)
    rig.advance(0.25)
    rig.connect(0)
    rig.advance(4)
    assert 1 == len(rig.attempts)
    rig.advance(2.5)
    assert ["failed"] == probes(rig)
    assert ["SUSPECT"] == rig.states()
    assert 2 == len(rig.attempts)


def test_a_probe_proves_that_an_endpoint_is_well_again() -> None:
    """A connect alone is not believed; an answer is."""
    rig = Rig(probe_interval=INTERVAL)
    rig.advance(0.25)
    rig.refuse(0)
    assert ["DOWN"] == rig.states()
    rig.advance(0.75)
    rig.connect(len(rig.attempts) - 1)
    assert ["SUSPECT"] == rig.states()
    rig.advance(INTERVAL)
    rig.connect(len(rig.attempts) - 1)[0].dataReceived(HELLO)
    assert ["UP"] == rig.states()


def test_stop_ends_probes() -> None:
    """So does a service that is removed; with a new one they begin again."""
    rig = Rig(probe_interval=INTERVAL)
    rig.use()
    rig.advance(INTERVAL)
    assert [] == rig.attempts
    rig.use("127.0.0.3")
    rig.advance(0.25)
    assert ["127.0.0.3"] == rig.attempts
    stopped = Deferred.fromCoroutine(rig.proxy.stop())
    rig.refuse(0)
    assert stopped.called
    assert [] == rig.reactor.getDelayedCalls()
