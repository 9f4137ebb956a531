"""The instance is not described yet: its requests wait, others do not notice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.vagent.metadata.upstream.pool_rig import HELLO, Rig
from vagent.metadata.limits import ASK_AGAIN_SECONDS
from vagent.metadata.upstream import instance_wait, wait_queue
from vagent.metadata.upstream.events import InstanceAwaited

PEER = "169.254.64.2"
INSTANCE = f"instance of {PEER}"
DOCUMENT = b"GET /openstack HTTP/1.1\r\nHost: a\r\n\r\n"
UNKNOWN = (
    b"HTTP/1.1 404 Not Found\r\nX-Vagent-Unknown-Instance: 1\r\n"
    b"Cache-Control: no-cache\r\nContent-Length: 4\r\n\r\nnone"
)
NOT_FOUND = UNKNOWN.replace(b"X-Vagent-Unknown-Instance: 1\r\n", b"")


def asked(rig: Rig) -> int:
    """How many requests the upstream was sent over its first connection."""
    return int(rig.protocols[0][1].value().count(b" HTTP/1.1\r\n"))


def waiting(rig: Rig, head: bytes = DOCUMENT, peer: str = PEER) -> tuple[Any, Any]:
    """A guest whose first request was answered with UNKNOWN."""
    guest, wire = rig.ask(peer, head)
    rig.protocols.append(rig.connect(len(rig.protocols)))
    rig.protocols[-1][0].dataReceived(UNKNOWN)
    return guest, wire


def test_it_is_answered_at_once_when_the_instance_is_there() -> None:
    """The guest has got nothing meanwhile, and gets the document."""
    rig = Rig()
    _, wire = waiting(rig)
    assert (b"", 1) == (wire.value(), asked(rig))
    assert 1 == rig.proxy.snapshot().requests_waiting
    [told] = [one for one in rig.events if isinstance(one, InstanceAwaited)]
    assert f"waits for instance {INSTANCE}" in told.text()
    rig.proxy.instance_changed("another")
    assert 1 == asked(rig), "only the one that has come"
    rig.proxy.instance_changed(INSTANCE)
    assert 2 == asked(rig)
    rig.protocols[0][0].dataReceived(HELLO)
    assert HELLO == wire.value()
    assert 0 == rig.proxy.snapshot().requests_waiting


def test_where_nobody_tells_it_asks_again_from_time_to_time() -> None:
    """An embedded server of another host: after two seconds, until hold-time is over.
    Then the guest gets the answer, without the field that was meant for the agent.
    """
    rig = Rig(hold_time=5.0)
    _, wire = waiting(rig)
    for number in (2, 3):
        rig.advance(ASK_AGAIN_SECONDS)
        assert number == asked(rig)
        rig.protocols[0][0].dataReceived(UNKNOWN)
        assert b"" == wire.value()
    rig.advance(1.25)
    assert (NOT_FOUND, 3) == (wire.value(), asked(rig))
    assert 1 == sum(isinstance(one, InstanceAwaited) for one in rig.events)


def test_an_answer_after_the_hold_time_is_passed_on() -> None:
    """It is not held twice."""
    rig = Rig(hold_time=2.5)
    _, wire = waiting(rig)
    rig.advance(ASK_AGAIN_SECONDS)
    rig.advance(1.0)
    rig.protocols[0][0].dataReceived(UNKNOWN)
    assert NOT_FOUND == wire.value()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /favicon.ico HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /openstack/latest/password HTTP/1.1\r\nHost: a\r\n"
        b"Content-Length: 1\r\n\r\nx",
    ],
)
def test_what_no_boot_needs_is_answered(head: bytes) -> None:
    """A path that guests do not boot with, and what changes something."""
    rig = Rig()
    _, wire = waiting(rig, head)
    assert NOT_FOUND == wire.value()


def test_a_404_for_the_path_is_answered() -> None:
    """The instance is known, the document is not there: no reason to wait."""
    rig = Rig()
    _, wire = rig.ask(PEER, DOCUMENT)
    connection, _ = rig.connect(0)
    connection.dataReceived(NOT_FOUND)
    assert NOT_FOUND == wire.value()


def test_an_instance_that_came_with_the_answer_is_not_missed() -> None:
    """Described between the upstream's look and now: sent again at once, but not for
    ever, should the upstream not find it.
    """
    rig = Rig()
    for number in range(instance_wait.MAX_RECENT - 1):
        rig.proxy.instance_changed(f"another {number}")
    rig.proxy.instance_changed(INSTANCE)
    _, wire = waiting(rig)
    assert 2 == asked(rig)
    rig.protocols[0][0].dataReceived(UNKNOWN)
    assert (2, b"") == (asked(rig), wire.value())
    rig.advance(ASK_AGAIN_SECONDS)
    assert 3 == asked(rig)


def test_only_the_last_changes_are_remembered() -> None:
    """A bounded number; an instance that changed twice counts from the second time."""
    rig = Rig()
    rig.proxy.instance_changed(INSTANCE)
    for number in range(instance_wait.MAX_RECENT):
        rig.proxy.instance_changed(f"another {number}")
    waiting(rig)
    assert 1 == asked(rig)


def test_a_guest_that_leaves_takes_its_place_along() -> None:
    """Nothing is asked for it any more."""
    rig = Rig()
    guest, _ = waiting(rig)
    guest.connectionLost()
    assert 0 == rig.proxy.snapshot().requests_waiting
    rig.proxy.instance_changed(INSTANCE)
    rig.advance(ASK_AGAIN_SECONDS)
    assert 1 == asked(rig)


def test_another_upstream_is_asked() -> None:
    """It may know the instance; without one the guest gets 503."""
    rig = Rig()
    _, wire = waiting(rig)
    rig.use("127.0.0.2")
    other, carried = rig.connect(1)
    assert carried.value().startswith(b"GET /openstack ")
    other.dataReceived(UNKNOWN)
    assert b"" == wire.value()
    rig.use()
    assert wire.value().startswith(b"HTTP/1.1 503 ")


def test_those_who_wait_cost_others_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are bounded by themselves, and the last places are for guests with few: a
    guest with many gets its 404 at once, another one waits.
    """
    monkeypatch.setattr(wait_queue, "MAX_WAITING", 8)
    rig = Rig()
    wires = [waiting(rig, DOCUMENT)[1]]
    for number in range(1, 8):
        path = b"GET /openstack/%d/x HTTP/1.1" % number
        head = DOCUMENT.replace(b"GET /openstack HTTP/1.1", path)
        _, wire = rig.ask(PEER, head)
        rig.protocols[0][0].dataReceived(UNKNOWN)
        wires.append(wire)
    assert [b""] * 7 + [NOT_FOUND] == [one.value() for one in wires]
    _, late = waiting(rig, DOCUMENT, "169.254.64.3")
    assert b"" == late.value()
    _, too_late = rig.ask("169.254.64.4", DOCUMENT)
    rig.connect(2)[0].dataReceived(UNKNOWN)
    assert NOT_FOUND == too_late.value()


def test_several_requests_for_one_document_share_the_answer() -> None:
    """They wait together, and no longer than the first."""
    rig = Rig(hold_time=1.0)
    rig.proxy._cache.ttl = 15.0
    _, first = waiting(rig)
    _, second = rig.ask(PEER, DOCUMENT)
    rig.advance(1.25)
    assert [NOT_FOUND, NOT_FOUND] == [first.value(), second.value()]
    assert 1 == asked(rig)
