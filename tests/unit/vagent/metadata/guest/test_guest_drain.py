"""A clean stop, in memory: what is answered, when the door closes, what bounds it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from tests.unit.vagent.metadata.proxy_rig import GET, HELLO, Rig
from vagent.config.model import MetadataProxyConfig, Secret
from vagent.metadata.guest.drain import (
    COMPLETE_SECONDS,
    LOOK_SECONDS,
    MARGIN_SECONDS,
    REST_SECONDS,
    SETTLE_SECONDS,
    Drain,
    drain_limit,
)
from vagent.metadata.guest.events import GuestsDrained

LAST = HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


class Stop:
    """A proxy that stops, and the doors of its agent."""

    def __init__(self, **changes: Any) -> None:
        # The upstream may take longer than the stop waits.
        self.rig = Rig(response_timeout=1000.0)
        self._holds_back = False
        self.waiting = False
        config = MetadataProxyConfig(shared_secret=Secret(b"s"), **changes)
        self.drain = Drain(
            config,
            connections=self.rig.proxy.connections,
            hold_back=self.hold_back,
            has_waiting=lambda: self.waiting,
            emit=self.rig.events.append,
            clock=self.rig.clock,
        )
        self._is_done = False

    def hold_back(self) -> None:
        self._holds_back = True

    def holds_back(self) -> bool:
        return self._holds_back

    def is_done(self) -> bool:
        return self._is_done

    def begin(self) -> None:
        Deferred.fromCoroutine(self.drain.run()).addCallback(self.ended)

    def ended(self, _: object) -> None:
        self._is_done = True

    def look(self, seconds: float = LOOK_SECONDS) -> None:
        """Let time pass, look by look."""
        for _ in range(round(seconds / LOOK_SECONDS)):
            self.rig.clock.advance(LOOK_SECONDS)

    def told(self) -> GuestsDrained:
        [event] = [one for one in self.rig.events if isinstance(one, GuestsDrained)]
        return event


def test_the_limit_is_what_a_request_may_take() -> None:
    """hold-time and response-timeout, and a margin."""
    config = MetadataProxyConfig(Secret(b"s"), hold_time=5.0, response_timeout=7.0)
    assert 12.0 + MARGIN_SECONDS == drain_limit(config)


def test_with_nobody_there_it_takes_a_moment() -> None:
    """Connections whose opening packet was let in have the time to arrive."""
    stop = Stop()
    stop.begin()
    assert stop.holds_back()
    stop.look(SETTLE_SECONDS - LOOK_SECONDS)
    assert not stop.is_done()
    stop.look(2 * LOOK_SECONDS)
    assert stop.is_done()
    assert (0, "complete", False) == (
        stop.told().left,
        stop.told().label(),
        stop.told().is_fault(),
    )
    assert "are answered, after 0.1 s" in stop.told().text()


def test_connections_in_the_backlog_are_waited_for() -> None:
    """The kernel has completed them: to close the listener would reset them."""
    stop = Stop()
    stop.waiting = True
    stop.begin()
    stop.look(1.0)
    assert not stop.is_done()
    stop.waiting = False
    stop.look()
    assert stop.is_done()


def test_while_a_request_is_under_way_new_ones_are_served() -> None:
    """Slow ones do not shut the door on others; what comes late is answered, too."""
    stop = Stop()
    slow, slow_wire = stop.rig.guest()
    slow.dataReceived(GET)
    stop.begin()
    stop.look(5.0)
    assert not stop.holds_back()
    late, late_wire = stop.rig.guest("169.254.64.3")
    late.dataReceived(GET)
    stop.rig.connections[0].dataReceived(HELLO)
    assert HELLO == slow_wire.sent
    stop.look()
    assert stop.holds_back(), "those of the signal's time are answered"
    assert not stop.is_done()
    stop.look(1.0)
    stop.rig.connections[1].dataReceived(HELLO)
    assert (LAST, "closed") == (late_wire.sent, late_wire.state)
    stop.look(1.0)
    assert stop.is_done()
    assert "closed" == slow_wire.state
    assert 0 == stop.told().left


def test_a_next_request_does_not_keep_the_door_open() -> None:
    """On the connection of an answered one: it is another request."""
    stop = Stop()
    guest, wire = stop.rig.guest()
    guest.dataReceived(GET)
    stop.begin()
    stop.rig.connections[0].dataReceived(HELLO)
    guest.dataReceived(GET)
    stop.look()
    assert stop.holds_back()
    stop.rig.connections[0].dataReceived(HELLO)
    assert (HELLO + LAST, "closed") == (wire.sent, wire.state)


def test_a_long_idle_connection_ends_with_fin_at_once() -> None:
    """One that was just used or opened has a moment for its next request, which is
    answered as the last.
    """
    stop = Stop()
    _, old = stop.rig.guest()
    stop.rig.clock.advance(1.0)
    (used, recent), (_, opened) = stop.rig.guest(), stop.rig.guest()
    stop.begin()
    assert ["closed", "open", "open"] == [one.state for one in (old, recent, opened)]
    used.dataReceived(GET)
    stop.rig.connections[0].dataReceived(HELLO)
    assert (LAST, "closed") == (recent.sent, recent.state)
    stop.look(REST_SECONDS - LOOK_SECONDS)
    assert "open" == opened.state
    stop.look(2 * LOOK_SECONDS)
    assert ("closed", True) == (opened.state, stop.is_done())


def test_a_request_that_has_arrived_is_not_answered_by_a_reset() -> None:
    """It is in the socket, though not read yet: that closes with a reset."""
    stop = Stop()
    guest, wire = stop.rig.guest()
    wire.unread = GET
    stop.rig.clock.advance(1.0)
    stop.begin()
    assert "open" == wire.state
    wire.unread = b""
    guest.dataReceived(GET)
    stop.look()
    stop.rig.connections[0].dataReceived(HELLO)
    assert (LAST, "closed") == (wire.sent, wire.state)


def test_the_rest_of_a_request_must_come_soon() -> None:
    """A guest that sends byte by byte does not hold up the others."""
    stop = Stop()
    guest, wire = stop.rig.guest()
    guest.dataReceived(GET[:10])
    stop.begin()
    stop.look(COMPLETE_SECONDS - 1.0)
    assert "open" == wire.state
    stop.look(1.5)
    assert wire.sent.startswith(b"HTTP/1.1 408 ")


def test_the_rest_of_a_request_in_time_is_answered() -> None:
    """As the last one of its connection."""
    stop = Stop()
    guest, wire = stop.rig.guest()
    guest.dataReceived(GET[:10])
    stop.begin()
    stop.look(1.0)
    guest.dataReceived(GET[10:])
    stop.rig.connections[0].dataReceived(HELLO)
    assert (LAST, "closed") == (wire.sent, wire.state)
    stop.look()
    assert stop.is_done()


def test_what_takes_too_long_is_cut_and_told() -> None:
    """At the limit, not later: then the agent resets what is left."""
    stop = Stop(hold_time=2.0, response_timeout=5.0)
    guest, _ = stop.rig.guest()
    guest.dataReceived(GET)
    stop.begin()
    stop.look(5.0 - LOOK_SECONDS)
    assert not stop.holds_back()
    stop.look(2 * LOOK_SECONDS)
    assert stop.holds_back(), "no longer than response-timeout"
    stop.look(4.0 - 3 * LOOK_SECONDS)
    assert not stop.is_done()
    stop.look(3 * LOOK_SECONDS)
    assert stop.is_done()
    assert (1, "cut", True) == (
        stop.told().left,
        stop.told().label(),
        stop.told().is_fault(),
    )
    assert "although 1 connections of guests are not done" in stop.told().text()


def test_another_signal_ends_it_at_the_next_look() -> None:
    """Whatever is under way, before the door closed or after."""
    for seconds in (0.0, 40.0):
        stop = Stop(response_timeout=30.0, hold_time=30.0)
        guest, _ = stop.rig.guest()
        guest.dataReceived(GET)
        stop.begin()
        stop.look(seconds)
        assert not stop.is_done()
        stop.drain.cut()
        stop.look(2 * LOOK_SECONDS)
        assert (True, True) == (stop.holds_back(), stop.is_done())
        assert 1 == stop.told().left
