"""Requests that wait for a change: the proxy in memory, a clock that is turned."""

from __future__ import annotations

import socket

import pytest
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from tests.unit.vagent.metadata.proxy_rig import GET, REGISTRATION, FakeTransport, Rig
from vagent.metadata.events import ChangeAwaited, GuestLimited, ReplyRelayed
from vagent.metadata.guest.connection import DownstreamConnection
from vagent.metadata.limits import AGAIN_SECONDS, MAX_LONG_POLLS
from vagent.metadata.upstream.target import HostPort, Target

INSTANCE = REGISTRATION.port.instance_id
WAIT = GET.replace(b" / ", b" /a?wait_for_change=true ")
KNOWN = GET.replace(b" / ", b" /a?wait_for_change=true&last_etag=1&timeout_sec=25 ")
GONE = Failure(ConnectionLost())


def document(etag: str, body: bytes = b"hello", status: str = "200 OK") -> bytes:
    head = f'HTTP/1.1 {status}\r\nETag: "{etag}"\r\nContent-Length: {len(body)}\r\n\r\n'
    return head.encode() + body


ONE, TWO = document("1"), document("2", b"other")


class Waiting:
    """A guest whose request waits for another document than `ONE`."""

    def __init__(self, request: bytes = KNOWN, **changes: object) -> None:
        self.rig = Rig(**changes)
        self.guest, self.transport = self.ask(request)

    def ask(self, request: bytes) -> tuple[DownstreamConnection, FakeTransport]:
        guest, transport = self.rig.guest()
        guest.dataReceived(request)
        return guest, transport

    @property
    def sent(self) -> int:
        return sum(one.sent.count(b" HTTP/1.1\r\n") for one in self.rig.upstreams)

    def answer(self, reply: bytes) -> None:
        self.rig.connections[-1].dataReceived(reply)

    def changed(self, instance: str = INSTANCE) -> None:
        self.rig.proxy.instance_changed(instance)


def test_a_change_ends_it() -> None:
    """While nothing changes it waits; after a change it is answered, once, with what
    there is then, and the connection goes on.
    """
    waiting = Waiting()
    waiting.answer(ONE)
    assert (b"", 1) == (waiting.transport.sent, waiting.sent)
    waiting.changed("another instance")
    assert 1 == waiting.sent
    waiting.changed()
    waiting.answer(ONE)
    assert (b"", 2) == (waiting.transport.sent, waiting.sent)
    waiting.changed()
    waiting.answer(TWO)
    assert (TWO, "open") == (waiting.transport.take(), waiting.transport.state)
    waiting.changed()
    assert 3 == waiting.sent
    waiting.guest.dataReceived(GET)
    waiting.answer(ONE)
    assert ONE == waiting.transport.sent


@pytest.mark.parametrize(
    "reply",
    [
        TWO,
        document("1", status="404 Not Found"),
        ONE.replace(b'ETag: "1"\r\n', b""),
        document("1", status="503 Service Unavailable"),
    ],
)
def test_what_is_answered_at_once(reply: bytes) -> None:
    """Another document than the guest knows; none; one without an entity tag, as those
    of nova-api; and a failure.
    """
    waiting = Waiting()
    waiting.answer(reply)
    assert reply == waiting.transport.sent


def test_without_a_tag_it_waits_for_the_next_change() -> None:
    """From what there is when it asks."""
    waiting = Waiting(WAIT)
    waiting.answer(ONE)
    waiting.changed()
    waiting.answer(ONE)
    assert b"" == waiting.transport.sent
    waiting.changed()
    waiting.answer(TWO)
    assert TWO == waiting.transport.sent


def test_a_change_while_it_asks_is_not_missed() -> None:
    """The answer on its way may be the old document: it asks again."""
    waiting = Waiting()
    waiting.changed()
    assert 1 == waiting.sent
    waiting.answer(ONE)
    assert (b"", 2) == (waiting.transport.sent, waiting.sent)
    waiting.answer(TWO)
    assert TWO == waiting.transport.sent


def test_the_end_of_its_time() -> None:
    """Is answered with what there is, changed or not; before, it is asked for again
    from time to time, as not every change is told.
    """
    waiting = Waiting()
    waiting.answer(ONE)
    for number in (2, 3):
        waiting.rig.advance(AGAIN_SECONDS - 0.5)
        assert number - 1 == waiting.sent
        waiting.rig.advance(1)
        assert number == waiting.sent
        waiting.answer(ONE)
        assert b"" == waiting.transport.sent
    waiting.rig.advance(25 - 2 * AGAIN_SECONDS)
    assert 4 == waiting.sent
    waiting.answer(ONE)
    assert ONE == waiting.transport.sent


def test_no_time_is_an_answer_at_once() -> None:
    """`timeout_sec=0` asks for the document and its tag."""
    waiting = Waiting(KNOWN.replace(b"sec=25", b"sec=0"))
    waiting.answer(ONE)
    assert ONE == waiting.transport.sent


def test_one_that_waits_takes_no_place() -> None:
    """A guest whose requests all wait for changes can still ask; one that cannot ask
    again for lack of a place does so when there is one.
    """
    waiting = Waiting(max_guest_requests=1)
    waiting.answer(ONE)
    other, transport = waiting.ask(GET)
    waiting.changed()
    assert 2 == waiting.sent
    waiting.answer(TWO)
    assert TWO == transport.sent
    waiting.rig.advance(0.5)
    assert 3 == waiting.sent
    waiting.answer(TWO)
    assert TWO == waiting.transport.sent
    other.dataReceived(GET)
    assert 4 == waiting.sent


def test_a_guest_has_a_few() -> None:
    """One more is refused, and another guest's is not."""
    rig = Rig()
    waiting = [rig.guest() for _ in range(MAX_LONG_POLLS + 1)]
    for guest, _ in waiting:
        guest.dataReceived(KNOWN)
    refused = [each for each in rig.events if isinstance(each, GuestLimited)]
    assert ["too-many-long-polls"] == [each.reason for each in refused]
    assert waiting[-1][1].sent.startswith(b"HTTP/1.1 429 ")
    waiting[0][0].connectionLost(GONE)
    guest, transport = rig.guest()
    guest.dataReceived(KNOWN)
    assert b"" == transport.sent


def test_a_full_guest_is_refused_as_always() -> None:
    """With as many requests at the upstream as it may have."""
    waiting = Waiting(GET, max_guest_requests=1)
    _, transport = waiting.ask(WAIT)
    assert transport.sent.startswith(b"HTTP/1.1 429 ")


@pytest.mark.parametrize("asks", [False, True])
def test_a_guest_that_leaves(asks: bool) -> None:
    """Nothing is asked for it any more, and its places are free."""
    waiting = Waiting(max_guest_requests=1)
    if not asks:
        waiting.answer(ONE)
    waiting.guest.connectionLost(GONE)
    waiting.changed()
    waiting.rig.advance(AGAIN_SECONDS + 1)
    assert 1 == waiting.sent
    assert ("aborted" if asks else "open") == waiting.rig.upstreams[0].state
    waiting.ask(GET)
    assert 2 == waiting.sent


def test_a_guest_that_closes_frees_its_place() -> None:
    """TCP does not tell a close from a half-close, so what there is is sent, and the
    connection closed; also where the guest closes before there is a document.
    """
    for asks in (False, True):
        waiting = Waiting()
        if not asks:
            waiting.answer(ONE)
        waiting.guest.readConnectionLost()
        assert waiting.sent == (1 if asks else 2)
        assert b"" == waiting.transport.sent
        waiting.answer(ONE)
        assert (ONE, "closed") == (waiting.transport.sent, waiting.transport.state)
        assert 0 == waiting.guest.quota.long_polls


def test_after_the_end_of_what_is_sent_nothing_waits() -> None:
    """A long poll behind another request, of a guest that has closed since."""
    waiting = Waiting(GET + KNOWN)
    waiting.guest.readConnectionLost()
    waiting.answer(ONE)
    assert (ONE, "open") == (waiting.transport.take(), waiting.transport.state)
    waiting.answer(ONE)
    assert (ONE, "closed") == (waiting.transport.sent, waiting.transport.state)


def test_only_who_waits_is_probed() -> None:
    """A guest that vanished without a FIN frees its place, too; other requests pay
    nothing for it.
    """
    waiting = Waiting()
    probe = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert probe not in waiting.transport.options
    waiting.answer(ONE)
    waiting.changed()
    waiting.answer(ONE)
    assert 1 == waiting.transport.options.count(probe)
    _, transport = waiting.ask(GET)
    waiting.answer(ONE)
    assert probe not in transport.options


def test_a_removed_port_ends_it() -> None:
    """And so does one of another tenant: nothing of the old one is sent."""
    waiting = Waiting()
    waiting.answer(ONE)
    waiting.rig.proxy.forget("169.254.64.2")
    assert "aborted" == waiting.transport.state
    waiting.guest.connectionLost(GONE)
    waiting.changed()
    assert (b"", 1) == (waiting.transport.sent, waiting.sent)


def test_a_stop_answers_all() -> None:
    """With what there is; whoever asks afterwards does not wait."""
    waiting = Waiting()
    waiting.answer(ONE)
    asking, transport = waiting.ask(WAIT)
    waiting.rig.proxy.end_long_polls()
    assert 3 == waiting.sent
    for connection in waiting.rig.connections:
        connection.dataReceived(ONE)
    assert [ONE, ONE] == [waiting.transport.take(), transport.take()]
    asking.dataReceived(WAIT)
    waiting.answer(ONE)
    assert ONE == transport.sent


def test_a_failure_is_no_change() -> None:
    """Once there was a document, it goes on waiting, but not beyond its time."""
    waiting = Waiting()
    waiting.answer(ONE)
    for failure in (b"nonsense\r\n\r\n", document("9", status="503 Busy")):
        waiting.changed()
        waiting.answer(failure)
        assert b"" == waiting.transport.sent
    waiting.rig.advance(25)
    waiting.answer(b"nonsense\r\n\r\n")
    assert waiting.transport.sent.startswith(b"HTTP/1.1 502 ")


def test_the_first_failure_is_answered() -> None:
    """A guest need not wait to hear that there is no upstream."""
    waiting = Waiting()
    waiting.answer(b"nonsense\r\n\r\n")
    assert waiting.transport.sent.startswith(b"HTTP/1.1 502 ")


def test_another_upstream_is_asked_at_once() -> None:
    """Its documents may be others."""
    waiting = Waiting()
    waiting.answer(ONE)
    waiting.rig.proxy.set_target(Target((HostPort("127.0.0.2", 8775),), ""))
    waiting.answer(TWO)
    assert TWO == waiting.transport.sent


@pytest.mark.parametrize("breaks", [False, True])
def test_a_large_document_is_not_compared(breaks: bool) -> None:
    """It is sent as it comes, at the guest's pace; a failure in its middle resets."""
    waiting = Waiting()
    waiting.transport.room = 10
    large = document("1", b"x" * 70000)
    waiting.answer(large[:-1])
    assert "paused" == waiting.rig.upstreams[0].reading
    waiting.transport.drain()
    assert "on" == waiting.rig.upstreams[0].reading
    if breaks:
        waiting.rig.connections[-1].connectionLost(GONE)
        assert "aborted" == waiting.transport.state
    else:
        waiting.answer(large[-1:])
        assert large == waiting.transport.sent
    waiting.changed()
    assert 1 == waiting.sent


@pytest.mark.parametrize(
    "request_",
    [
        WAIT.replace(b"GET", b"HEAD"),
        WAIT.replace(b"GET", b"PUT"),
        WAIT.replace(b"/a", b"/openstack/latest/vendor_data2.json"),
    ],
)
def test_what_does_not_wait(request_: bytes) -> None:
    """Other methods, and the document that asking for changes (one-time passwords)."""
    waiting = Waiting(request_)
    reply = ONE.replace(b"hello", b"") if request_.startswith(b"HEAD") else ONE
    waiting.answer(reply)
    assert reply == waiting.transport.sent


def test_what_is_told() -> None:
    """Once that it waits; the time of the answer is the upstream's, not the wait."""
    waiting = Waiting()
    waiting.answer(ONE)
    waiting.rig.advance(5)
    waiting.changed()
    waiting.answer(ONE)
    waiting.rig.advance(5)
    waiting.changed()
    waiting.rig.advance(0.5)
    waiting.answer(TWO)
    events = waiting.rig.events
    (waited,) = (each for each in events if isinstance(each, ChangeAwaited))
    assert "Metadata for VM : 10.0.0.3 waits for a change" == waited.text()
    (relayed,) = (each for each in events if isinstance(each, ReplyRelayed))
    assert (waited.request, 0.5) == (relayed.request, relayed.seconds)
