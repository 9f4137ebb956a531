"""One upstream request for many askers, and answers without any: in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from tests.unit.vagent.metadata.proxy_rig import (
    GET,
    HELLO,
    REGISTRATION,
    FakeTransport,
    Rig,
)
from vagent.metadata.events import CoalescedFailed, LocalAnswer
from vagent.metadata.guest.connection import DownstreamConnection
from vagent.metadata.limits import STALE_SECONDS
from vagent.metadata.upstream.events import ForwardFailed
from vagent.metadata.upstream.target import HostPort, Target
from vagent.transport.deadlines import TICK_SECONDS

CLOSING = GET[:-2] + b"Connection: close\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
GONE = Failure(ConnectionLost())

Asked = list[tuple[DownstreamConnection, FakeTransport]]


def caching() -> Rig:
    return Rig(cache_ttl=15.0)


def ask(rig: Rig, *requests: bytes) -> Asked:
    asked = [rig.guest() for _ in requests]
    for (guest, _), request in zip(asked, requests, strict=True):
        guest.dataReceived(request)
    return asked


def sent(rig: Rig) -> int:
    return sum(one.sent.count(b" HTTP/1.1\r\n") for one in rig.upstreams)


def test_concurrent_identical_requests_are_one() -> None:
    """Three askers, one upstream request, each answered in its own form."""
    rig = caching()
    asked = ask(rig, GET, CLOSING, GET)
    assert 1 == sent(rig)
    rig.connections[0].dataReceived(HELLO)
    closing = HELLO.replace(b"5\r\n\r\n", b"5\r\nConnection: close\r\n\r\n")
    assert [HELLO, closing, HELLO] == [transport.sent for _, transport in asked]
    assert ["open", "closed", "open"] == [transport.state for _, transport in asked]
    assert 2 == rig.proxy.snapshot().coalesced


def test_the_next_is_answered_from_what_is_kept() -> None:
    """Until the time is up; then the upstream is asked again."""
    rig = caching()
    ((guest, transport),) = ask(rig, GET)
    rig.connections[0].dataReceived(HELLO)
    transport.take()
    rig.advance(14.75)
    guest.dataReceived(GET)
    assert (HELLO, 1) == (transport.take(), sent(rig))
    guest.dataReceived(HEAD)
    assert (HELLO[:-5], 1) == (transport.take(), sent(rig))
    rig.advance(0.25)
    guest.dataReceived(GET)
    assert (b"", 2) == (transport.take(), sent(rig))
    assert 2 == rig.proxy.snapshot().cache_hits


@pytest.mark.parametrize(
    "path", [b"/openstack/latest/meta_data.json", b"/openstack/latest/password"]
)
def test_never_shared(path: bytes) -> None:
    """Two concurrent requests are two upstream, and so is the next one."""
    rig = caching()
    request = GET.replace(b" / ", b" %b " % path)
    asked = ask(rig, request, request)
    assert 2 == sent(rig)
    for connection in rig.connections:
        connection.dataReceived(HELLO)
    assert [HELLO, HELLO] == [transport.take() for _, transport in asked]
    asked[0][0].dataReceived(request)
    assert 3 == sent(rig)


def test_different_headers_are_different_questions() -> None:
    """What the upstream may vary on keeps requests apart."""
    rig = caching()
    ask(rig, GET, GET[:-2] + b"Accept: a\r\n\r\n", GET[:-2] + b"Accept: b\r\n\r\n")
    assert 3 == sent(rig)


def test_zero_turns_it_off() -> None:
    """Each request goes upstream by itself."""
    rig = Rig(cache_ttl=0.0)
    ask(rig, GET, GET)
    assert 2 == sent(rig)


def test_one_who_leaves_does_not_take_the_others_along() -> None:
    """Not even the first; with the last one the upstream request ends."""
    rig = caching()
    asked = ask(rig, GET, GET, GET)
    asked[0][0].connectionLost(GONE)
    assert "open" == rig.upstreams[0].state
    asked[1][0].connectionLost(GONE)
    rig.connections[0].dataReceived(HELLO)
    assert HELLO == asked[2][1].sent
    rig = caching()
    asked = ask(rig, GET, GET)
    for guest, _ in asked:
        guest.connectionLost(GONE)
    assert "aborted" == rig.upstreams[0].state
    ask(rig, GET)
    assert 2 == sent(rig)


def test_a_failure_is_told_of_every_request() -> None:
    """Why, of the one that was sent; of the others, together with which they failed."""
    rig = caching()
    ask(rig, GET, GET, CLOSING)
    rig.connections[0].dataReceived(b"nonsense\r\n\r\n")
    told = [each for each in rig.events if isinstance(each, LocalAnswer)]
    assert [(ForwardFailed, 1)] == [(type(each), each.request) for each in told]
    shared = [each for each in rig.events if isinstance(each, CoalescedFailed)]
    assert [(2, 1, 502), (3, 1, 502)] == [
        (each.request, each.forwarded, each.status) for each in shared
    ]
    assert {"request": "0000000000000002", "forwarded": "0000000000000001"}.items() <= (
        shared[0].facts().items()
    )


def test_a_failure_is_everybodys() -> None:
    """All who waited are answered, and the next one asks anew."""
    rig = caching()
    asked = ask(rig, GET, CLOSING)
    rig.connections[0].dataReceived(b"nonsense\r\n\r\n")
    assert all(transport.sent.startswith(b"HTTP/1.1 502 ") for _, transport in asked)
    assert ["open", "closed"] == [transport.state for _, transport in asked]
    asked[0][0].dataReceived(GET)
    assert 2 == sent(rig)


@pytest.mark.parametrize("first_leaves", [False, True])
def test_a_large_reply_is_not_shared(first_leaves: bool) -> None:
    """It is streamed to the one who began; the others ask for themselves."""
    rig = caching()
    asked = ask(rig, GET, GET)
    if first_leaves:
        asked[0][0].connectionLost(GONE)
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70000
    rig.connections[0].dataReceived(large[:50])
    assert 2 == len(rig.connections)
    if first_leaves:
        assert "aborted" == rig.upstreams[0].state
    else:
        rig.connections[0].dataReceived(large[50:])
        assert large == asked[0][1].sent
    rig.connections[1].dataReceived(large)
    assert large == asked[1][1].sent
    assert 0 == rig.proxy.snapshot().cached_replies


NO_CACHE = HELLO.replace(b"Content", b"Cache-Control: no-cache\r\nContent", 1)


@pytest.mark.parametrize("first_leaves", [False, True])
@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found"])
def test_what_must_be_asked_for_again_is_not_shared(
    status: bytes, first_leaves: bool
) -> None:
    """A request that came while another one was under way never gets that one's
    document, which may have been made before a change: it asks for itself.
    """
    rig = caching()
    asked = ask(rig, GET, CLOSING)
    if first_leaves:
        asked[0][0].connectionLost(GONE)
    old = NO_CACHE.replace(b"200 OK", status)
    rig.connections[0].dataReceived(old)
    assert [b"" if first_leaves else old, b""] == [one.sent for _, one in asked]
    assert 2 == sent(rig)
    rig.connections[-1].dataReceived(NO_CACHE.replace(b"hello", b"newer"))
    assert asked[1][1].sent.endswith(b"\r\n\r\nnewer")
    ask(rig, GET)
    assert (3, 0) == (sent(rig), rig.proxy.snapshot().cached_replies)


def test_a_failure_of_the_server_is_shared_whatever_it_says() -> None:
    """An upstream in trouble is not asked once more by each who waits."""
    rig = caching()
    asked = ask(rig, GET, GET)
    error = NO_CACHE.replace(b"200 OK", b"503 Service Unavailable")
    rig.connections[0].dataReceived(error)
    assert [error, error] == [transport.sent for _, transport in asked]
    assert 1 == sent(rig)


def test_a_random_seed_is_given_to_one() -> None:
    """Wherever it stands: two requests of a guest must not credit the same entropy."""
    rig = caching()
    asked = ask(rig, *[GET.replace(b" / ", b" /seed ")] * 2)
    seed = b'{"random_seed": "AAAA"}'
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(seed), seed)
    rig.connections[0].dataReceived(reply)
    assert [reply, b""] == [transport.sent for _, transport in asked]
    assert 2 == sent(rig)


def test_stale_when_the_upstream_fails() -> None:
    """An old answer is better than an error, for a while."""
    rig = caching()
    ((guest, transport),) = ask(rig, GET)
    rig.connections[0].dataReceived(HELLO)
    transport.take()
    rig.advance(20)
    guest.dataReceived(GET)
    rig.connections[-1].dataReceived(b"nonsense\r\n\r\n")
    assert HELLO == transport.take()
    texts = [event.text() for event in rig.events if "Stale" in event.text()]
    assert ["Metadata for VM : 10.0.0.3 Stale by 5.0 s"] == texts
    rig.advance(STALE_SECONDS - 20)
    ((_, transport),) = ask(rig, GET)
    rig.connections[-1].dataReceived(b"nonsense\r\n\r\n")
    assert transport.sent.startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_stale_when_the_upstream_answers_with_its_own_failure(status: int) -> None:
    """A balancer's 503 is no better than none; what was kept stays, and without it the
    answer is passed on as it is.
    """
    rig = caching()
    error = b"HTTP/1.1 %d Oh\r\nContent-Length: 2\r\n\r\nno" % status
    ((guest, transport),) = ask(rig, GET)
    rig.connections[0].dataReceived(HELLO)
    transport.take()
    for _ in range(2):
        rig.advance(20)
        guest.dataReceived(GET)
        (other,) = ask(rig, GET)
        rig.connections[-1].dataReceived(error)
        assert (HELLO, HELLO) == (transport.take(), other[1].sent)
    guest.dataReceived(GET.replace(b"/", b"/new", 1))
    rig.connections[-1].dataReceived(error)
    assert transport.take().startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("status", [404, 403, 501])
def test_an_answer_is_not_hidden_by_what_was_kept(status: int) -> None:
    """An instance that is gone is gone, and so is what was kept of it."""
    rig = caching()
    ((guest, transport),) = ask(rig, GET)
    rig.connections[0].dataReceived(HELLO)
    rig.advance(20)
    for _ in range(2):
        transport.take()
        guest.dataReceived(GET)
        reply = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status
        rig.connections[-1].dataReceived(reply)
        assert transport.take().startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("request_", [POST, POST.replace(b"POST", b"PUT")])
def test_a_guest_that_changes_something_sees_it(request_: bytes) -> None:
    """What was kept goes at once; what was read meanwhile is not kept either."""
    rig = caching()
    writer, reader = rig.guest(), rig.guest()
    reader[0].dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    reader[1].take()
    writer[0].dataReceived(request_)
    reader[0].dataReceived(GET)
    assert 3 == sent(rig)
    rig.connections[0].dataReceived(HELLO)
    assert 1 == rig.proxy.snapshot().cached_replies
    rig.connections[1].dataReceived(HELLO)
    assert 0 == rig.proxy.snapshot().cached_replies
    reader[0].dataReceived(GET)
    assert 4 == sent(rig)


def test_a_changed_port_takes_its_replies_along() -> None:
    """By forget, and without it: the next request is asked, never answered from it."""
    rig = caching()
    ask(rig, GET)
    rig.connections[0].dataReceived(HELLO)
    rig.proxy.forget("169.254.64.2")
    assert 0 == rig.proxy.snapshot().cached_bytes
    ask(rig, GET)
    rig.connections[0].dataReceived(HELLO)
    rig.registration = replace(
        REGISTRATION, port=replace(REGISTRATION.port, instance_id="j")
    )
    ((_, transport),) = ask(rig, GET)
    assert (b"", 3) == (transport.sent, sent(rig))


def test_a_reply_under_way_when_its_port_goes_is_not_kept() -> None:
    """The successor at the same identity cannot meet it."""
    rig = caching()
    ask(rig, GET)
    rig.proxy.forget("169.254.64.2")
    rig.connections[0].dataReceived(HELLO)
    assert 0 == rig.proxy.snapshot().cached_replies


def test_another_service_starts_with_nothing_kept() -> None:
    """Replies of the old endpoints are not those of the new ones."""
    rig = caching()
    ask(rig, GET)
    rig.connections[0].dataReceived(HELLO)
    rig.proxy.set_target(Target((HostPort("127.0.0.1", 8775),), ""))
    assert 1 == rig.proxy.snapshot().cached_replies
    rig.proxy.set_target(Target((HostPort("127.0.0.2", 8775),), ""))
    assert 0 == rig.proxy.snapshot().cached_replies


def test_pipelined_requests_for_one_document() -> None:
    """The second is answered from the first one's reply, in order."""
    rig = caching()
    ((_, transport),) = ask(rig, GET * 3)
    rig.connections[0].dataReceived(HELLO)
    rig.advance(TICK_SECONDS)
    assert (HELLO * 3, 1) == (transport.sent, sent(rig))


def test_pipelined_requests_before_a_half_close() -> None:
    """A guest that has sent FIN still gets every answer that is there at once."""
    rig = caching()
    ((guest, transport),) = ask(rig, GET * 3)
    guest.readConnectionLost()
    rig.connections[0].dataReceived(HELLO)
    rig.advance(TICK_SECONDS)
    assert (HELLO * 3, "closed") == (transport.sent, transport.state)


def test_what_is_too_old_is_thrown_away() -> None:
    """Nothing is held for guests that ask no more, and the timer ends."""
    rig = caching()
    ((guest, _),) = ask(rig, GET)
    rig.connections[0].dataReceived(HELLO)
    guest.connectionLost(GONE)
    rig.connections[0].connectionLost(GONE)
    rig.advance(STALE_SECONDS + 1)
    assert 0 == rig.proxy.snapshot().cached_bytes
    assert [] == rig.clock.getDelayedCalls()


def test_replies_to_another_address_are_kept_apart() -> None:
    """The upstream is told the address, and may say it; a port's connections are
    counted together all the same.
    """
    rig = caching()
    guests = [rig.guest(), rig.guest("fd40:140:2::1")]
    for guest, _ in guests:
        guest.dataReceived(GET)
    assert 2 == sent(rig)
    assert 0 == rig.proxy.snapshot().coalesced
    assert 1 == rig.proxy.snapshot().guests


def test_a_slow_guest_of_a_large_response_slows_the_upstream() -> None:
    """And lets it go on when it has taken what there was."""
    rig = caching()
    ((_, transport),) = ask(rig, GET)
    transport.room = 10
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70000
    rig.connections[0].dataReceived(large[:-1])
    reading = [rig.upstreams[0].reading]
    transport.drain()
    assert ["paused", "on"] == [*reading, rig.upstreams[0].reading]
    rig.connections[0].dataReceived(large[-1:])
    assert large == transport.sent


@pytest.mark.parametrize("cache_ttl", [0.0, 15.0])
def test_a_request_counts_while_it_waits_and_no_longer(cache_ttl: float) -> None:
    """One more than may wait is answered at once and goes nowhere; when all have their
    responses, as many may wait again.
    """
    rig = Rig(cache_ttl=cache_ttl, max_guest_requests=2)
    for turn in range(3):
        paths = [b" /%d/%d " % (turn, number) for number in range(3)]
        before = sent(rig)
        asked = ask(rig, *(GET.replace(b" / ", path) for path in paths))
        assert before + 2 == sent(rig)
        assert asked[2][1].sent[9:12] in (b"429", b"503")
        for connection in rig.connections:
            connection.dataReceived(HELLO)
        assert [HELLO] * 2 == [transport.sent for _, transport in asked[:2]]
