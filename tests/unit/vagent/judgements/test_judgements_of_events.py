"""Guests that fail, taps that vanish and packets that are dropped, by events alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from tests.unit.vagent.judgements.test_judgements_judge import (
    CALLER,
    PORT,
    REGISTRATION,
)
from vagent.datapath.events import PortState
from vagent.datapath.trap.events import QueueOverrun
from vagent.judgements.judge import of_endpoints, stops_all
from vagent.judgements.judgement import (
    Judgement,
    JudgementKind,
    Severity,
    SubjectKind,
)
from vagent.judgements.of_events import (
    FAILING_SECONDS,
    GONE_SECONDS,
    MAX_FAILING,
    MAX_GONE,
    OVERRUN_SECONDS,
    EventRecord,
)
from vagent.metadata.events import Caller, ReplyRelayed
from vagent.metadata.request_id import shown
from vagent.metadata.upstream.circuit_breaker import BreakerState
from vagent.metadata.upstream.endpoint import EndpointSnapshot
from vagent.metadata.upstream.events import ForwardFailed
from vagent.observe.observer import Observer
from vagent.ports.events import PortRemoved
from vagent.ports.port import PROBE_AUTHOR, Registration


class Rig:
    """A record behind a real observer, and ports that a test changes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.observer = Observer(now=lambda: 0.0, log_level="critical")
        self.record = EventRecord(self.observer, self.clock)
        self.ports: dict[str, Registration] = {"p": REGISTRATION}

    def judged(self, *, is_told: bool = False) -> list[Judgement]:
        return [*self.record.judgements(self.ports.get, is_told=is_told)]

    def kinds(self) -> list[str]:
        return [one.kind.value for one in self.judged()]

    def fail(self, reason: str = "timeout", caller: Caller = CALLER) -> None:
        self.observer.emit(ForwardFailed(7, caller, reason, "words"))

    def serve(self, caller: Caller = CALLER) -> None:
        self.observer.emit(ReplyRelayed(8, caller, 200, 3, 0.1))

    def tap(self, *, is_there: bool, port: str = "p") -> None:
        self.observer.emit(PortState(port, "tap1", "", is_there))

    def listens(self) -> bool:
        """Is it told of each reply?"""
        return ReplyRelayed in self.observer._heeded


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("timeout", "504"),
        ("empty-reply", "502"),
        ("broken-reply", "502"),
        ("malformed-reply", "502"),
        ("held-too-long", "503"),
    ],
)
def test_a_guest_that_gets_errors(reason: str, status: str) -> None:
    """Who, what it gets, its request, and what to look at."""
    rig = Rig()
    rig.fail(reason)
    (found,) = rig.judged()
    assert (JudgementKind.GUEST_GETS_ERRORS, Severity.WRONG) == (
        found.kind,
        found.severity,
    )
    assert (SubjectKind.PORT, "p", "tap1") == (
        found.subject.kind,
        found.subject.id,
        found.subject.tap,
    )
    assert PORT.instance_id == found.subject.instance
    assert found.text.startswith(f"its guest gets {status}: ")
    assert shown(7) == found.request
    assert "--port p" in found.remedy


def test_its_next_answer_ends_it() -> None:
    """At once; another guest's does not. Replies are heeded only that long, and are
    counted all the while.
    """
    rig = Rig()
    assert not rig.listens()
    rig.fail()
    rig.fail(caller=Caller("q", "tap2", ""))
    rig.ports["q"] = REGISTRATION
    rig.serve(Caller("r", "tap3", ""))
    assert 2 == len(rig.judged())
    rig.serve()
    assert rig.listens()
    assert 1 == len(rig.judged())
    rig.serve(Caller("q", "tap2", ""))
    assert [] == rig.judged()
    assert not rig.listens()
    rig.serve()
    assert 4 == rig.observer.statistics.snapshot().total("metadata_responses_total")


@pytest.mark.parametrize("reason", ["too-many-held", "no-service", "tls-refused"])
def test_other_reasons_are_not_judged(reason: str) -> None:
    """They are the guest's own doing, or told of the endpoint."""
    rig = Rig()
    rig.fail(reason)
    assert [] == rig.judged()
    assert not rig.listens()


def test_nobody_s_errors_are_not_judged() -> None:
    """A connection that no port is known for, and the probe of explain."""
    rig = Rig()
    rig.fail(caller=Caller("", "", ""))
    assert not rig.listens()
    probe = replace(PORT, author=f"{PROBE_AUTHOR} 4711")
    rig.ports["p"] = replace(REGISTRATION, port=probe)
    rig.fail()
    assert [] == rig.judged()


def test_what_is_told_of_the_endpoints_is_not_told_of_each_guest() -> None:
    """With the only endpoint down all guests fail."""
    rig = Rig()
    rig.fail()
    down = EndpointSnapshot("192.0.2.1:8775", "n", BreakerState.DOWN, 0, 0, 0, None)
    well = replace(down, address="192.0.2.2:8775", state=BreakerState.UP)
    assert stops_all(of_endpoints((down,)))
    assert not stops_all(of_endpoints((down, well)))
    assert not stops_all(rig.judged())
    assert [] == rig.judged(is_told=True)
    assert 1 == len(rig.judged())


def test_a_guest_that_asks_no_more_is_forgotten() -> None:
    """After a while, and with its port, and when the services change."""
    rig = Rig()
    rig.fail()
    rig.clock.advance(FAILING_SECONDS - 1)
    assert 1 == len(rig.judged())
    rig.clock.advance(1)
    assert [] == rig.judged()
    assert not rig.listens()
    rig.fail()
    rig.ports.clear()
    assert [] == rig.judged()
    assert not rig.listens()
    rig.ports["p"] = REGISTRATION
    rig.fail()
    rig.record.forget_failing()
    assert [] == rig.judged()
    assert not rig.listens()
    rig.record.forget_failing()


def test_failing_guests_have_a_ceiling() -> None:
    """One that is known already goes on being known."""
    rig = Rig()
    for number in range(MAX_FAILING + 1):
        rig.ports[f"p{number}"] = REGISTRATION
        rig.fail(caller=Caller(f"p{number}", "tap", ""))
    rig.fail("empty-reply", Caller("p0", "tap", ""))
    found = rig.judged()
    assert MAX_FAILING == len(found)
    assert "502" in found[0].text


def test_a_tap_that_vanishes() -> None:
    """Told after a moment, until it is back; one that has not come yet is none."""
    rig = Rig()
    rig.tap(is_there=False)
    rig.clock.advance(GONE_SECONDS)
    assert [] == rig.judged()
    rig.tap(is_there=True)
    rig.tap(is_there=False)
    rig.clock.advance(GONE_SECONDS - 1)
    assert [] == rig.judged()
    rig.tap(is_there=False)
    rig.clock.advance(1)
    (found,) = rig.judged()
    assert (JudgementKind.TAP_GONE, Severity.WARNING) == (found.kind, found.severity)
    assert ("p", "its tap tap1 has vanished") == (found.subject.id, found.text)
    assert "ip link" in found.remedy
    rig.tap(is_there=True)
    assert [] == rig.judged()


def test_a_tap_that_goes_with_its_port_is_none() -> None:
    """As where a guest stops; a port that comes later begins anew."""
    rig = Rig()
    rig.tap(is_there=True)
    rig.tap(is_there=False)
    rig.clock.advance(GONE_SECONDS)
    rig.observer.emit(PortRemoved("p", "tap1", "169.254.64.2"))
    assert [] == rig.judged()
    rig.tap(is_there=True)
    rig.observer.emit(PortRemoved("p", "tap1", "169.254.64.2"))
    rig.tap(is_there=False)
    rig.clock.advance(GONE_SECONDS)
    assert [] == rig.judged()


def test_vanished_taps_have_a_ceiling() -> None:
    """A switch may take all of them away."""
    rig = Rig()
    for number in range(MAX_GONE + 1):
        rig.ports[f"p{number}"] = REGISTRATION
        rig.tap(is_there=True, port=f"p{number}")
        rig.tap(is_there=False, port=f"p{number}")
    rig.clock.advance(GONE_SECONDS)
    assert MAX_GONE == len(rig.judged())


def test_packets_that_were_dropped() -> None:
    """Told of the host until a minute after the last."""
    rig = Rig()
    rig.observer.emit(QueueOverrun())
    rig.clock.advance(OVERRUN_SECONDS - 1)
    (found,) = rig.judged()
    assert (JudgementKind.PACKETS_DROPPED, "queue") == (found.kind, found.subject.id)
    assert (Severity.WARNING, SubjectKind.HOST) == (found.severity, found.subject.kind)
    assert "max-vm-new-flows" in found.remedy
    rig.observer.emit(QueueOverrun())
    rig.clock.advance(1)
    assert ["packets-dropped"] == rig.kinds()
    rig.clock.advance(OVERRUN_SECONDS - 1)
    assert [] == rig.judged()


def test_it_says_how_much_it_knows() -> None:
    """For whoever debugs."""
    rig = Rig()
    rig.fail()
    assert "<EventRecord 1 failing, 0 gone>" == repr(rig.record)
