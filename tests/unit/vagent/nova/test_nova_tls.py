"""The server's side of TLS in memory: who gets in, and how a connection ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from lab.pki import Authority
from tests.unit.vagent.nova.tls_caller import GET, Caller, Pki
from vagent.nova import server
from vagent.nova.connection.channel import IDLE_TIMEOUT
from vagent.nova.connection.request_head import MAX_BODY
from vagent.nova.events import NovaHandshakeFailed
from vagent.nova.tls import LINGER_SECONDS
from vagent.transport.deadlines import TICK_SECONDS

VERSIONS = [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.made_in(tmp_path_factory.mktemp("pki"))


def call(pki: Pki, **more: Any) -> Caller:
    return Caller(pki.contexts([]), pki.ca.cert, pki.client, **more)


class Inner(Protocol):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.received = b""
        self.end: BaseException | None = None
        self.told: list[str] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.end = reason.value

    def pauseProducing(self) -> None:
        self.told.append("stop")

    def resumeProducing(self) -> None:
        self.told.append("go on")


def call_inner(pki: Pki, **more: Any) -> tuple[Inner, Caller]:
    inner = Inner()
    return inner, call(pki, served=Factory.forProtocol(lambda: inner), **more)


@pytest.mark.parametrize("version", VERSIONS)
def test_client_with_certificate_is_served(pki: Pki, version: int) -> None:
    """A certificate of the client CA opens the door, over TLS 1.2 and 1.3."""
    for _ in range(2):
        caller = call(pki, version=version)
        caller.say(GET)
        assert caller.reply.startswith(b"HTTP/1.1 200 OK")
        assert caller.events == []


@pytest.mark.parametrize("version", VERSIONS)
def test_client_without_certificate_is_refused(pki: Pki, version: int) -> None:
    """No certificate: not a byte of HTTP, an alert, and an event that says why."""
    caller = Caller(pki.contexts([]), pki.ca.cert, None, version=version)
    caller.say(GET)
    assert b"" == caller.reply
    assert "alert" in caller.ended
    (event,) = caller.events
    assert isinstance(event, NovaHandshakeFailed)
    assert "peer did not return a certificate" in event.text()
    assert event.text().startswith("metadata server: 169.254.64.2: ")


def test_client_of_another_ca_is_refused(pki: Pki, tmp_path: Path) -> None:
    """A certificate that somebody else signed is worth nothing."""
    pair = Authority(tmp_path, "a stranger").client("client")
    caller = Caller(pki.contexts([]), pki.ca.cert, pair)
    caller.say(GET)
    assert b"" == caller.reply
    assert "unknown ca" in caller.ended
    assert "unable to get local issuer" in caller.events[0].text()


def test_server_certificate_is_no_client_certificate(pki: Pki) -> None:
    """A certificate for servers only does not make a client."""
    pair = pki.ca.server("other", "other.example")
    caller = Caller(pki.contexts([]), pki.ca.cert, pair)
    caller.say(GET)
    assert b"" == caller.reply
    assert "certificate purpose" in caller.events[0].text()


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_old_tls_is_refused(pki: Pki) -> None:
    """TLS 1.1 is not spoken."""
    caller = call(pki, version=SSL.TLS1_1_VERSION)
    caller.say(GET)
    assert b"" == caller.reply
    assert "unsupported protocol" in caller.events[0].text()


def test_http2_is_not_offered(pki: Pki) -> None:
    """Only HTTP/1.1 is negotiated."""
    assert b"http/1.1" == call(pki).tls.get_alpn_proto_negotiated()


def test_no_byte_before_the_client_is_verified(pki: Pki) -> None:
    """In neither direction: what the site writes too early does not leave."""
    inner = Inner()
    caller = Caller(
        pki.contexts([]),
        pki.ca.cert,
        None,
        served=Factory.forProtocol(lambda: inner),
    )
    inner.transport.write(b"secret")  # type: ignore[union-attr]  # connected
    caller.say(GET)
    caller.lose()
    assert b"" == caller.reply
    assert b"" == inner.received
    assert b"" == caller.transport.sent
    assert "did not return a certificate" in str(inner.end)


def test_plain_http_is_refused(pki: Pki) -> None:
    """What is not TLS gets no reply."""
    inner, caller = call_inner(pki, greet=False)
    caller.server.dataReceived(GET)
    assert b"" == caller.transport.take()
    assert "half-closed" == caller.transport.state
    assert b"" == inner.received
    assert "http request" in caller.events[0].text()


@pytest.mark.parametrize("size", [1, 16_384, 300_000])
def test_whole_content_in_both_directions(pki: Pki, size: int) -> None:
    """In one record or in many."""
    inner, caller = call_inner(pki)
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    caller.say(content)
    assert content == inner.received
    inner.transport.writeSequence([content[:100], content[100:]])  # type: ignore[union-attr]  # connected
    caller.pump()
    assert content == caller.reply


def test_handshake_has_a_deadline(pki: Pki) -> None:
    """Absolute: bytes of the handshake do not move it."""
    caller = call(pki, greet=False)
    caller.clock.advance(IDLE_TIMEOUT - 1)
    caller.server.dataReceived(b"\x16\x03\x01")
    assert "open" == caller.transport.state
    caller.clock.advance(1)
    assert "aborted" == caller.transport.state


def test_connections_in_the_handshake_are_counted(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ceiling holds from TCP on."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 0)
    assert "aborted" == call(pki).transport.state


def test_site_closes_with_goodbye_and_waits_for_the_client(pki: Pki) -> None:
    """The reply and a close_notify, then half-closed: what still comes is forgotten."""
    caller = call(pki)
    caller.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert caller.reply.startswith(b"HTTP/1.1 200 OK")
    assert "close_notify" == caller.ended
    assert "half-closed" == caller.transport.state
    caller.server.dataReceived(b"anything")
    caller.lose()
    caller.clock.advance(TICK_SECONDS)
    assert [] == caller.clock.getDelayedCalls()


def test_client_that_does_not_close_is_cut(pki: Pki) -> None:
    """At the end of the lingering, whatever it sends."""
    caller = call(pki)
    caller.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    caller.clock.advance(LINGER_SECONDS - 1)
    caller.server.dataReceived(b"anything")
    assert "half-closed" == caller.transport.state
    caller.clock.advance(1)
    assert "aborted" == caller.transport.state


def test_refused_body_is_answered(pki: Pki) -> None:
    """The client sends on and still gets its answer."""
    caller = call(pki)
    length = MAX_BODY + 1
    caller.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length)
    assert caller.reply.startswith(b"HTTP/1.1 413")
    assert "half-closed" == caller.transport.state
    assert "on" == caller.transport.reading


def test_client_says_goodbye(pki: Pki) -> None:
    """A close_notify is answered with one; the end is an orderly one."""
    inner, caller = call_inner(pki)
    assert not caller.tls.shutdown()
    caller.pump()
    assert "closing" == caller.transport.state
    assert caller.tls.shutdown()
    caller.lose()
    assert isinstance(inner.end, ConnectionDone)


def test_end_without_goodbye_is_a_loss(pki: Pki) -> None:
    """Anybody can send a FIN."""
    inner, caller = call_inner(pki)
    caller.lose()
    assert isinstance(inner.end, ConnectionLost)


def test_garbage_breaks_the_connection(pki: Pki) -> None:
    """It is a loss, and nothing is delivered."""
    inner, caller = call_inner(pki)
    caller.server.dataReceived(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert "aborted" == caller.transport.state
    caller.lose()
    assert b"" == inner.received
    assert isinstance(inner.end, ConnectionLost)


def test_slow_client_stops_the_site(pki: Pki) -> None:
    """While bytes wait in this process the producer is stopped."""
    inner, caller = call_inner(pki)
    transport: Any = inner.transport
    transport.registerProducer(inner, True)
    caller.transport.room = 100
    transport.write(bytes(5000))
    assert ["stop"] == inner.told
    caller.transport.drain()
    assert ["stop", "go on"] == inner.told
    caller.pump()
    assert bytes(5000) == caller.reply
    transport.unregisterProducer()
    caller.transport.room = 0
    transport.write(b"more")
    caller.transport.drain()
    assert ["stop", "go on"] == inner.told


def test_slow_client_gets_all_before_the_half_close(pki: Pki) -> None:
    """Closing waits for what waits."""
    inner, caller = call_inner(pki)
    caller.transport.room = 100
    inner.transport.write(bytes(5000))  # type: ignore[union-attr]  # connected
    inner.transport.loseConnection()  # type: ignore[union-attr]  # connected
    assert "open" == caller.transport.state
    caller.transport.drain()
    assert "half-closed" == caller.transport.state
    caller.pump()
    assert bytes(5000) == caller.reply
    assert "close_notify" == caller.ended


@pytest.mark.parametrize(("room", "state"), [(0, "aborted"), (1 << 20, "open")])
def test_what_tls_says_by_itself_does_not_pile_up(
    pki: Pki, room: int, state: str
) -> None:
    """A client that wants to renegotiate is told no; one that does not read is cut."""
    inner, caller = call_inner(pki, version=SSL.TLS1_2_VERSION)
    caller.transport.room = room
    inner.transport.write(b"reply")  # type: ignore[union-attr]  # connected
    caller.tls.renegotiate()
    with pytest.raises(SSL.WantReadError):
        caller.tls.do_handshake()
    caller.server.dataReceived(caller.tls.bio_read(65536))
    assert state == caller.transport.state
    if room:
        caller.pump()
        assert "no renegotiation" in caller.ended
