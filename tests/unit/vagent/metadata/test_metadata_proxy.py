"""Whose request it is: looked at for each, also on a connection that is open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tests.unit.vagent.metadata.proxy_rig import (
    GET,
    HELLO,
    REGISTRATION,
    Rig,
)
from vagent.metadata import proxy as proxy_module
from vagent.metadata.guest.events import AnswerWithheld
from vagent.metadata.limits import FEW_CONNECTIONS, RESERVED
from vagent.metadata.upstream.target import HostPort, Target
from vagent.transport.deadlines import TICK_SECONDS
from vagent.transport.tls import AlertReceived


def sent(rig: Rig) -> list[bytes]:
    """What each upstream connection has carried."""
    return [one.sent for one in rig.upstreams]


@pytest.mark.parametrize(
    "change", [{"id": "other"}, {"instance_id": "other"}, {"tenant_id": "other"}]
)
def test_an_open_connection_never_speaks_for_another_guest(
    change: dict[str, Any],
) -> None:
    """The port behind its address became another's, or another tenant's: it is cut at
    its next request, which goes nowhere, neither as the old guest nor as the new one.
    """
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    assert HELLO == transport.take()
    carried = sent(rig)
    rig.registration = replace(REGISTRATION, port=replace(REGISTRATION.port, **change))
    guest.dataReceived(GET)
    assert ("aborted", b"") == (transport.state, transport.sent)
    assert carried == sent(rig)
    assert ["port-changed"] == rig.labels()


@pytest.mark.parametrize("change", [{"instance_id": "new"}, {"tenant_id": "new"}])
def test_a_new_connection_is_the_new_guests(change: dict[str, Any]) -> None:
    """Its headers are of the port as it is now, not those that were kept."""
    rig = Rig()
    rig.guest()[0].dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    rig.registration = replace(REGISTRATION, port=replace(REGISTRATION.port, **change))
    rig.guest()[0].dataReceived(GET)
    name = {"instance_id": b"X-Instance-ID", "tenant_id": b"X-Tenant-ID"}
    [(changed, value)] = change.items()
    line = b"%b: %b\r\n" % (name[changed], value.encode())
    assert line not in rig.upstreams[0].sent
    assert line in rig.upstreams[1].sent, "nor does it get the other's connection"


def test_a_port_that_is_only_renamed_goes_on() -> None:
    """Nothing that Nova is told has changed: its connections stay."""
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    rig.registration = replace(
        REGISTRATION, port=replace(REGISTRATION.port, display_name="renamed")
    )
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    assert ("open", HELLO * 2) == (transport.state, transport.sent)


def test_a_port_that_goes_takes_its_connections_along() -> None:
    """Those that are open, whatever they do; those of others stay."""
    rig = Rig()
    idle, asking = rig.guest(), rig.guest()
    asking[0].dataReceived(GET)
    other = rig.guest("169.254.64.3")
    rig.proxy.forget("169.254.64.2")
    assert ["aborted", "aborted", "open"] == [
        transport.state for _, transport in (idle, asking, other)
    ]
    rig.proxy.forget("169.254.64.9")
    assert "open" == other[1].state


def test_the_last_connections_are_for_guests_with_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Idle connections of many guests do not shut the others out."""
    monkeypatch.setattr(proxy_module, "MAX_GUEST_CONNECTIONS_TOTAL", 64)
    rig = Rig(max_guest_connections=64)
    guests = [rig.guest("169.254.64.2") for _ in range(64 - 64 // RESERVED)]
    assert {"open"} == {transport.state for _, transport in guests}
    refused, transport = rig.guest("169.254.64.2")
    assert transport.sent.startswith(b"HTTP/1.1 503 ")
    refused.connectionLost(Failure(ConnectionDone()))
    modest = [rig.guest("169.254.64.3")[1] for _ in range(FEW_CONNECTIONS + 1)]
    assert [b""] * FEW_CONNECTIONS == [one.sent for one in modest[:-1]]
    assert modest[-1].sent.startswith(b"HTTP/1.1 503 ")


def test_requests_count_where_there_is_no_service_too() -> None:
    """A guest over its rate is paused, whatever it would have been answered."""
    rig = Rig(guest_request_rate=0.1, guest_request_burst=2)
    rig.proxy.set_target(None)
    guest, transport = rig.guest()
    guest.dataReceived(GET * 3)
    rig.advance(TICK_SECONDS)
    reasons = [one for one in rig.labels() if one != "DOWN"]
    assert ["no-service", "no-service", "too-fast"] == reasons
    assert "paused" == transport.reading


OLD_DOCUMENT = (
    b"GET /openstack/latest/user_data HTTP/1.1\r\nHost: a\r\n"
    b"User-Agent: Cloud-Init/22.4.2\r\n\r\n"
)


def test_a_503_that_would_be_final_is_not_sent() -> None:
    """Whatever the reason: no service, held too long. The connection ends with FIN and
    without an answer, which an old cloud-init repeats; told beside the reason. A guest
    over its rate is answered and paused.
    """
    rig = Rig(guest_request_rate=0.1, guest_request_burst=2)
    rig.proxy.set_target(None)
    guest, transport = rig.guest()
    guest.dataReceived(OLD_DOCUMENT)
    assert (b"", "closed") == (transport.sent, transport.state)
    rig.proxy.set_target(Target((HostPort("127.0.0.1", 8775),), ""))
    refused, transport = rig.guest()
    refused.dataReceived(OLD_DOCUMENT)
    rig.connections[0].connectionLost(Failure(AlertReceived("certificate unknown")))
    rig.proxy.set_target(None)
    assert (b"", "closed") == (transport.sent, transport.state)
    guest, transport = rig.guest()
    guest.dataReceived(OLD_DOCUMENT)
    assert transport.sent.startswith(b"HTTP/1.1 503 ")
    assert ("open", "paused") == (transport.state, transport.reading)
    withheld = [one for one in rig.events if isinstance(one, AnswerWithheld)]
    assert 2 == len(withheld)
    assert {True} == {one.is_fault() for one in withheld}
    assert [("failed", 0.0)] * 2 == [(one.timed_as, one.seconds) for one in withheld]
    assert "which its cloud-init would take for final" in withheld[0].text()
    reasons = [one for one in rig.labels() if one != "DOWN"]
    assert ["no-service", "no-service", "too-fast"] == reasons


def test_other_errors_are_sent_to_an_old_cloud_init_too() -> None:
    """A reply of the upstream that is broken is 502, whoever asks."""
    rig = Rig()
    guest, transport = rig.guest()
    guest.dataReceived(OLD_DOCUMENT)
    rig.connections[0].dataReceived(b"nonsense\r\n\r\n")
    assert transport.sent.startswith(b"HTTP/1.1 502 ")


def test_every_answer_of_our_own_has_a_date() -> None:
    """Errors, refusals of requests and of connections, and what lacks one upstream."""
    rig = Rig(max_guest_connections=1, date=lambda: b"Date: d\r\n")
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    assert HELLO.replace(b" OK\r\n", b" OK\r\nDate: d\r\n") == transport.take()
    _, busy = rig.guest()
    rig.proxy.set_target(None)
    guest.dataReceived(GET)
    guest.dataReceived(b"bad\r\n\r\n")
    for status, sent in ((b"503", busy.sent), (b"503", transport.sent)):
        assert sent.startswith(b"HTTP/1.1 %b " % status)
        assert 1 == sent.split(b"\r\n\r\n")[0].count(b"\r\nDate: d\r\n")
    assert b"HTTP/1.1 400 Bad Request\r\nDate: d\r\n" in transport.sent
