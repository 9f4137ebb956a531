"""Promises of the proxy's events: Contrail's texts, and what they say of a request."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.unit.vagent.metadata.proxy_rig import GET, HELLO, Rig
from vagent.metadata import events, request_id
from vagent.metadata.limits import HEAD_SECONDS, MAX_TRACE_TEXT
from vagent.metadata.upstream.events import ForwardFailed
from vagent.observe.event import Event
from vagent.observe.statistics import MAX_LABELS

GUEST = events.Caller("p", "tap", "10.0.0.3")


@pytest.mark.parametrize(
    ("event", "counter", "label", "text"),
    [
        (
            events.RequestForwarded(7, GUEST, b"GET", b"/latest/x"),
            "metadata_requests_total",
            "",
            "GET request for VM : 10.0.0.3 URL : latest/x",
        ),
        (
            events.RequestForwarded(7, GUEST, b"DELETE", b"/x"),
            "metadata_requests_total",
            "",
            "Delete request for VM : 10.0.0.3 URL : x",
        ),
        (events.RequestParsed(), "metadata_requests_total", "", ""),
        (events.SessionReachedUpstream(), "metadata_proxy_sessions_total", "", ""),
        (
            events.ReplyRelayed(7, GUEST, 200, 16, 0.0123),
            "metadata_responses_total",
            "200",
            "Metadata for VM : 10.0.0.3 Response : 200 16 bytes 12.3 ms",
        ),
        (events.ErrorSent(503), "metadata_responses_total", "503", ""),
        (
            events.RequestFailed(7, 503, 8.0),
            "metadata_responses_total",
            "503",
            "",
        ),
        (
            events.GuestUnknown(7, events.Caller("", "", "169.254.64.9")),
            "metadata_internal_errors_total",
            "unknown-guest",
            "Error: Interface Config not available; ; Request for VM : 169.254.64.9",
        ),
        (
            events.ServiceUnknown(7, GUEST, b"GET"),
            "metadata_internal_errors_total",
            "no-service",
            "Error: Config not available; Request Method: 1; Request for VM : 10.0.0.3",
        ),
        (
            events.RequestRefused(7, GUEST, 501, "method", b"OPTIONS"),
            "metadata_internal_errors_total",
            "refused-501",
            "Error: Unsupported Method; Request Method: 6; Request for VM: 10.0.0.3",
        ),
        (
            events.RequestRefused(7, GUEST, 400, "no Host", b""),
            "metadata_internal_errors_total",
            "refused-400",
            "Error: 400 no Host; Request for VM : 10.0.0.3",
        ),
        (
            ForwardFailed(7, GUEST, "timeout", "no reply\nin time"),
            "metadata_internal_errors_total",
            "timeout",
            "Metadata for VM : 10.0.0.3 Error : timeout: no reply?in time",
        ),
        (
            events.GuestCut(7, GUEST, "slow-reader"),
            "metadata_internal_errors_total",
            "slow-reader",
            "Metadata for VM : 10.0.0.3 Error : slow-reader",
        ),
    ],
)
def test_events(event: Event, counter: str, label: str, text: str) -> None:
    """Contrail's texts, one counter each, labels of closed sets."""
    assert event.counter is not None
    told = (event.counter.name, event.label(), event.text())
    assert (counter, label, text) == told


def test_guest_text_in_traces_is_bounded_and_printable() -> None:
    """Nothing a guest sends can forge or flood a trace line."""
    text = events.printable(b"a\r\n\x1b[31m\xff" + b"b" * 1000)
    assert text.startswith("a???[31m?")
    assert MAX_TRACE_TEXT == len(text)


def told(rig: Rig) -> list[tuple[str, int, str]]:
    """What was told of requests: the event, the request, the port."""
    return [
        (type(each).__name__, each.request, each.caller.port_id)
        for each in rig.events
        if isinstance(each, events.RequestEvent)
    ]


def test_one_request_has_one_number() -> None:
    """From accepted to reply; the next request has another, on the same connection."""
    rig = Rig()
    guest, _ = rig.guest()
    for _ in range(2):
        guest.dataReceived(GET)
        rig.connections[0].dataReceived(HELLO)
    assert [
        ("RequestForwarded", 1, "p"),
        ("ReplyRelayed", 1, "p"),
        ("RequestForwarded", 2, "p"),
        ("ReplyRelayed", 2, "p"),
    ] == told(rig)


def test_a_request_that_fails_keeps_its_number() -> None:
    """The failure is told of the request that was accepted."""
    rig = Rig()
    guest, _ = rig.guest()
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(b"nonsense\r\n\r\n")
    assert [("RequestForwarded", 1, "p"), ("ForwardFailed", 1, "p")] == told(rig)


def test_a_refused_request_has_a_number_of_its_own() -> None:
    """It does not look like a part of the request before it."""
    rig = Rig()
    guest, _ = rig.guest()
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    guest.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    assert ("RequestRefused", 2, "p") == told(rig)[-1]


@pytest.mark.parametrize("sent", [b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /"])
def test_the_first_request_is_told_of_the_port(sent: bytes) -> None:
    """Though it is refused before anybody looks who the guest is."""
    rig = Rig()
    guest, _ = rig.guest()
    guest.dataReceived(sent)
    rig.advance(HEAD_SECONDS + 1)
    (event,) = [e for e in rig.events if isinstance(e, events.RequestRefused)]
    assert events.Caller("p", "tap", "10.0.0.3") == event.caller


def test_a_connection_too_many_is_told_of_the_port() -> None:
    """It has made no request."""
    rig = Rig(max_guest_connections=1)
    rig.guest()
    rig.guest()
    (event,) = [each for each in rig.events if isinstance(each, events.GuestCut)]
    assert (request_id.NONE, GUEST) == (event.request, event.caller)


def test_who_asks_is_the_port_and_not_the_address() -> None:
    """While no port is known, the source of the connection stands there."""
    rig = Rig()
    guest, _ = rig.guest()
    rig.registration = None
    guest.dataReceived(GET)
    (event,) = [each for each in rig.events if isinstance(each, events.GuestUnknown)]
    assert events.Caller("", "", "169.254.64.2") == event.caller


@pytest.mark.parametrize("entropy", [b"\x00" * 4, b"\xff" * 4])
def test_numbers_of_requests_are_apart(entropy: bytes) -> None:
    """Never 0, which stands for none, and of at most 64 bits whatever is drawn."""
    first, second = islice(request_id.request_ids(lambda size: entropy[:size]), 2)
    assert 0 < first == second - 1
    assert 16 == len(request_id.shown(first)) == len(request_id.shown(1 << 63))


@pytest.mark.parametrize(
    ("status", "label"),
    [(200, "200"), (404, "404"), (299, "2xx"), (499, "4xx"), (600, "other")],
)
def test_responses_are_counted_by_status(status: int, label: str) -> None:
    """Those that HTTP defines; of others the class, because an upstream may use any."""
    assert label == events.ReplyRelayed(7, GUEST, status, 16, 0.0123).label()
    assert label == events.ErrorSent(status).label()
    assert label == events.RequestFailed(7, status, 0.0).label()


def test_no_upstream_makes_more_series_than_a_counter_may_have() -> None:
    """Whatever statuses it answers with, each is counted under its own name."""
    labels = {events.status_label(status) for status in range(200, 1000)}
    assert len(labels) < MAX_LABELS


def test_the_proxy_s_own_errors_are_counted_by_status_too() -> None:
    """What the guest got counts, whoever made it: here 200, 502, 400 and 404."""
    rig = Rig()
    guest, _ = rig.guest()
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(b"nonsense\r\n\r\n")
    guest.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    rig.registration = None
    rig.guest()[0].dataReceived(GET)
    counted = [one.label() for one in rig.events if one.counter is events.RESPONSES]
    assert ["200", "502", "400", "404"] == counted


def whole(rig: Rig) -> list[tuple[str, float]]:
    """Outcome and seconds of each request, from its last byte on."""
    return [
        (one.timed_as, one.seconds)
        for one in rig.events
        if one.histogram is events.SECONDS
    ]


def test_the_whole_time_of_a_request_that_failed_counts() -> None:
    """One that was held until its time was over, and one without a service."""
    rig = Rig(hold_time=8.0)
    guest, _ = rig.guest()
    guest.dataReceived(GET)
    rig.clock.advance(0.5)
    rig.connections[0].dataReceived(HELLO)
    guest.dataReceived(GET)
    rig.clock.advance(1.5)
    rig.connections[0].dataReceived(b"nonsense\r\n\r\n")
    rig.proxy.set_target(None)
    guest.dataReceived(GET)
    assert [("answered", 0.5), ("failed", 1.5), ("failed", 0.0)] == whole(rig)
    (event, _) = [one for one in rig.events if isinstance(one, events.RequestFailed)]
    assert request_id.shown(2) == event.facts()["request"]


def test_what_was_no_request_has_no_time() -> None:
    """A head that is refused, and a connection too many."""
    rig = Rig(max_guest_connections=1)
    guest, _ = rig.guest()
    rig.guest()
    guest.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    assert [] == whole(rig)
    assert 2 == sum(isinstance(one, events.ErrorSent) for one in rig.events)


def test_a_connection_too_many_is_counted_as_503() -> None:
    """It is answered before it has asked anything."""
    rig = Rig(max_guest_connections=1)
    rig.guest()
    _, transport = rig.guest()
    assert transport.sent.startswith(b"HTTP/1.1 503 ")
    assert [503] == [e.status for e in rig.events if isinstance(e, events.ErrorSent)]
