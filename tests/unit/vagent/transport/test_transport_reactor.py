"""The reactor's short way to a readable descriptor: what it must not lose."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python.failure import Failure

from vagent.transport.reactor import QuietEpollReactor, freeze_heap


class Reader:
    """A pipe's reading end; `outcome` is what reading it comes to."""

    def __init__(self, outcome: Any = None) -> None:
        self.reading, self.writing = os.pipe()
        self.outcome = outcome
        self.read = b""
        self.end: BaseException | None = None
        self.peers: list[Reader] = []
        self.reactor: Any = None

    def fileno(self) -> int:
        return self.reading

    def logPrefix(self) -> str:
        return "reader"

    def doRead(self) -> Any:
        self.read += os.read(self.reading, 100)
        for peer in self.peers:
            self.reactor.removeReader(peer)
        if isinstance(self.outcome, ValueError):
            raise self.outcome
        return self.outcome

    def connectionLost(self, reason: Failure) -> None:
        self.end = reason.value


@pytest.fixture
def reactor() -> Iterator[Any]:
    made: Any = QuietEpollReactor()
    readers: list[Reader] = []

    def add(reader: Reader) -> Reader:
        readers.append(reader)
        reader.reactor = made
        made.addReader(reader)
        os.write(reader.writing, b"x")
        return reader

    made.add = add
    yield made
    made.removeAll()
    for internal in made._internalReaders:
        internal.connectionLost(None)
    made._poller.close()
    for reader in readers:
        os.close(reader.reading)
        if reader.writing >= 0:
            os.close(reader.writing)


def test_readable_descriptor_is_read(reactor: Any) -> None:
    """And stays where it is."""
    reader = reactor.add(Reader())
    reactor.doIteration(0)
    assert b"x" == reader.read
    assert reader in reactor.getReaders()


def test_end_that_reading_finds_is_told(reactor: Any) -> None:
    """The descriptor is not watched any more."""
    reader = reactor.add(Reader(CONNECTION_DONE))
    reactor.doIteration(0)
    assert isinstance(reader.end, ConnectionDone)
    assert reader not in reactor.getReaders()


def test_error_in_a_protocol_is_logged_and_ends_it_alone(reactor: Any) -> None:
    """Others are served in the same turn."""
    logged: list[Any] = []
    observer = cast(ILogObserver, logged.append)
    globalLogPublisher.addObserver(observer)
    broken, sound = reactor.add(Reader(ValueError("of ours"))), reactor.add(Reader())
    try:
        reactor.doIteration(0)
    finally:
        globalLogPublisher.removeObserver(observer)
    assert isinstance(broken.end, ValueError)
    assert b"x" == sound.read
    assert any("log_failure" in event for event in logged)


def test_descriptor_removed_earlier_in_the_turn_is_left_alone(reactor: Any) -> None:
    """Its event was already fetched."""
    one, two = reactor.add(Reader()), reactor.add(Reader())
    one.peers, two.peers = [two], [one]
    reactor.doIteration(0)
    assert 1 == len(one.read + two.read)


def test_hang_up_without_anything_to_read_is_an_end(reactor: Any) -> None:
    """It comes as another event than readable."""
    reader = reactor.add(Reader())
    reactor.doIteration(0)
    os.close(reader.writing)
    reader.writing = -1
    reactor.doIteration(0)
    assert isinstance(reader.end, (ConnectionDone, ConnectionLost))


def test_a_full_collection_does_not_look_at_what_was_frozen() -> None:
    """Of all objects none is left for the collector but those that are made later."""
    try:
        freeze_heap()
        assert len(gc.get_objects(generation=2)) < gc.get_freeze_count() / 100
    finally:
        gc.unfreeze()


def test_timers_follow_a_clock_that_nobody_can_set(
    reactor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timer's time is monotonic, so it fires though the wall clock was set back."""
    monkeypatch.setattr(time, "time", lambda: 0.0)
    fired: list[str] = []
    timer = reactor.callLater(0.0, fired.append, "fired")
    assert abs(timer.getTime() - time.monotonic()) < 60.0
    assert reactor.seconds() <= time.monotonic() <= reactor.seconds()
    reactor.runUntilCurrent()
    assert ["fired"] == fired
