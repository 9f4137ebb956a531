"""Promises of vagent.web.own_names."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from vagent.web.own_names import RETRY, OwnNames, fqdn_of, in_daemon_thread


class Reactor(Clock):
    """A clock that takes calls from threads at once."""

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        call(*args)


def own_names(
    *further: str, host_name: str = "compute-7", found: list[str | None] | None = None
) -> tuple[OwnNames, Reactor]:
    """Names whose lookups find each of `found` in turn, and their clock."""
    reactor, finds = Reactor(), iter(found or [None])
    names = OwnNames(
        further,
        reactor=reactor,
        host_name=host_name,
        look_up=lambda _name: next(finds),
        run=lambda work: work(),
    )
    return names, reactor


def test_what_is_known_at_once() -> None:
    """localhost, the host's name and its first label, and the configured names."""
    names, _ = own_names("api.example.net", host_name="Compute-7.example.net")
    for name in ("localhost", "compute-7.example.net", "compute-7", "api.example.net"):
        assert name in names
    assert "evil.example" not in names
    assert "" not in own_names(host_name="")[0]


def test_the_fqdn_is_looked_up() -> None:
    """Once; it counts in canonical spelling."""
    names, reactor = own_names(found=["Compute-7.Example.net."])
    assert "compute-7.example.net" not in names
    names.start()
    assert "compute-7.example.net" in names
    assert [] == reactor.getDelayedCalls()
    assert "<OwnNames compute-7 compute-7.example.net localhost>" == repr(names)


def test_a_lookup_that_fails_is_repeated() -> None:
    """Every RETRY seconds, until it succeeds or the names are stopped."""
    names, reactor = own_names(found=[None, None, "c.example.net"])
    names.start()
    reactor.advance(RETRY)
    assert "c.example.net" not in names
    reactor.advance(RETRY)
    assert "c.example.net" in names
    failing, reactor = own_names(found=[None, None])
    failing.start()
    failing.stop()
    assert [] == reactor.getDelayedCalls()
    failing.start()
    assert [] == reactor.getDelayedCalls()


def test_the_systems_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The canonical name of the first answer; None if there is no answer."""

    def found(name: str, port: None, *, flags: int) -> Any:
        assert ("c7", socket.AI_CANONNAME) == (name, flags)
        return [(2, 1, 6, "c7.example.net", ("10.0.0.7", 0)), (2, 2, 17, "", ())]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    assert "c7.example.net" == fqdn_of("c7")

    def missing(name: str, port: None, *, flags: int) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", missing)
    assert fqdn_of("c7") is None


def test_a_stopped_process_does_not_wait_for_the_thread() -> None:
    """A lookup runs in a daemon thread."""
    seen: list[bool] = []
    done = threading.Event()

    def work() -> None:
        seen.append(threading.current_thread().daemon)
        done.set()

    in_daemon_thread(work)
    assert done.wait(10)
    assert [True] == seen
