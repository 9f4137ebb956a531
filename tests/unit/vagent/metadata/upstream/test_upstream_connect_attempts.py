"""Attempts to connect: counted while they last, and each has one outcome."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from vagent.errors import UpstreamError
from vagent.metadata.upstream.connect_attempts import ConnectAttempts
from vagent.metadata.upstream.endpoint import UpstreamEndpoint
from vagent.metadata.upstream.health_check import Probe
from vagent.metadata.upstream.target import HostPort
from vagent.metadata.upstream.times import UpstreamTimes
from vagent.observe.statistics import AT_A_TIME


class Connection:
    """One that is made."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.is_open = is_open


class Rig:
    """Attempts whose outcome the test decides."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []
        self.outcomes: list[object] = []
        self.times = UpstreamTimes()
        self.clock = Clock()
        self.probed: list[str] = []
        self.fault: Exception | None = None
        nobody: Any = None
        self.endpoint = UpstreamEndpoint(
            nobody, HostPort("192.0.2.1", 80), "192.0.2.1", default_port=80
        )
        connector: Any = self
        self.attempts = ConnectAttempts(
            connector,
            connected=self.connected,
            failed=self.failed,
            times=self.times,
            now=self.clock.seconds,
        )
        self.probe = Probe(self.probed.append)

    def timed(self) -> tuple[list[float], list[float]]:
        return self.times.connected.pending, self.times.not_connected.pending

    async def connect(self, endpoint: UpstreamEndpoint) -> Any:
        assert self.endpoint is endpoint
        self.waiting.append(Deferred())
        try:
            return await self.waiting[-1]
        except CancelledError:
            raise UpstreamError("cancelled", status=503) from None

    def connected(self, endpoint: Any, connection: Any, probe: Any) -> None:
        assert 0 == endpoint.breaker.connecting
        self.outcomes.append((connection, probe))
        if self.fault is not None:
            raise self.fault

    def failed(self, endpoint: Any, why: str) -> None:
        self.outcomes.append(why)
        assert endpoint.breaker.connecting == len(self.waiting) - len(self.outcomes)


@pytest.fixture
def logged() -> Any:
    """What is logged meanwhile."""
    events: list[Any] = []
    note: Any = events.append
    globalLogPublisher.addObserver(note)
    yield events
    globalLogPublisher.removeObserver(note)


@pytest.mark.parametrize("is_probe", [False, True])
def test_a_connection_is_handed_over(*, is_probe: bool) -> None:
    """With the health check that it is for; until then it counts as being opened."""
    rig = Rig()
    probe = rig.probe if is_probe else None
    rig.attempts.begin(rig.endpoint, probe)
    assert 1 == rig.endpoint.breaker.connecting
    connection = Connection()
    rig.clock.advance(0.5)
    rig.waiting[0].callback(connection)
    assert [(connection, probe)] == rig.outcomes
    assert ([0.5], []) == rig.timed()


@pytest.mark.parametrize(
    ("fault", "is_logged"),
    [(UpstreamError("refused", status=503), False), (ValueError("odd"), True)],
)
def test_each_failure_is_one(fault: Exception, logged: Any, *, is_logged: bool) -> None:
    """A health check hears of it, too; what nobody foresaw is logged besides."""
    rig = Rig()
    rig.attempts.begin(rig.endpoint, rig.probe)
    rig.clock.advance(2.5)
    rig.waiting[0].errback(fault)
    assert ([], [2.5]) == rig.timed()
    assert ([str(fault)], [str(fault)]) == (rig.outcomes, rig.probed)
    assert is_logged is any(event.get("log_failure") for event in logged)


def test_the_times_of_attempts_do_not_pile_up() -> None:
    """An endpoint may be down for months, and nobody look."""
    rig = Rig()
    for number in range(AT_A_TIME):
        rig.attempts.begin(rig.endpoint)
        rig.waiting[number].errback(UpstreamError("refused", status=503))
    assert ([], []) == rig.timed()


def test_one_that_closed_at_once_is_nobodys() -> None:
    """Its end was told by itself; only a health check must not wait for ever."""
    rig = Rig()
    rig.attempts.begin(rig.endpoint, rig.probe)
    rig.waiting[0].callback(Connection(is_open=False))
    assert ([], ["closed at once"], 0) == (
        rig.outcomes,
        rig.probed,
        rig.endpoint.breaker.connecting,
    )


def test_a_fault_of_whoever_takes_it_is_logged(logged: Any) -> None:
    """And does not count as a second outcome."""
    rig = Rig()
    rig.fault = RuntimeError("ours")
    rig.attempts.begin(rig.endpoint)
    rig.waiting[0].callback(Connection())
    assert 1 == len(rig.outcomes)
    assert any(event.get("log_failure") for event in logged)


def test_all_are_ended() -> None:
    """Each of them is a failure, and none is left."""
    rig = Rig()
    for _ in range(2):
        rig.attempts.begin(rig.endpoint)
    rig.attempts.cancel()
    assert ["cancelled"] * 2 == rig.outcomes
    rig.attempts.cancel()
    assert 2 == len(rig.outcomes)
