"""The TLS client in memory: real OpenSSL on both sides, no socket between them."""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from lab.pki import Authority, KeyPair
from tests.unit.vagent.metadata.proxy_rig import FakeTransport
from vagent.certificates.client_files import TlsFiles, build_context
from vagent.config.model import ClientTls
from vagent.errors import UpstreamError
from vagent.observe.event import Event
from vagent.transport.tls import AlertReceived, TlsClient

NAME = "nova.example"
SERVER = ("192.0.2.1:8775", NAME)


@dataclass(slots=True)
class Pki:
    """A server and a client of one CA; `rogue` trusts another CA."""

    server: KeyPair
    files: ClientTls
    rogue: ClientTls


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    ca = Authority(tmp_path_factory.mktemp("ca"))
    stranger = Authority(tmp_path_factory.mktemp("stranger"), "a stranger")
    client = ca.client("client")
    return Pki(
        ca.server("server", NAME, "192.0.2.1"),
        ClientTls(client.cert, client.key, ca.cert),
        ClientTls(client.cert, client.key, stranger.cert),
    )


class Inner(Protocol):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.is_made = False
        self.received = b""
        self.end: BaseException | None = None

    def connectionMade(self) -> None:
        self.is_made = True

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.end = reason.value


class Wires:
    """A client and a server; `pump` carries bytes until both are silent."""

    def __init__(
        self,
        pki: Pki,
        name: str = NAME,
        *,
        context: ssl.SSLContext | None = None,
        server_trusts: Path | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.inner = Inner()
        self.failures: list[UpstreamError] = []
        self.client = TlsClient(
            self.inner,
            context or build_context(pki.files)[0],
            name,
            session=session,
            failed=self.failures.append,
        )
        pair = pki.server
        accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        accepting.load_cert_chain(pair.cert, pair.key)
        accepting.load_verify_locations(server_trusts or pki.files.ca_cert)
        accepting.verify_mode = ssl.CERT_REQUIRED
        self.to_server, self.from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = accepting.wrap_bio(
            self.to_server, self.from_server, server_side=True
        )
        self.transport = FakeTransport()
        self.client.makeConnection(cast("Any", self.transport))
        self.pump()

    def pump(self, pieces: int = 1 << 20) -> None:
        for _ in range(8):
            self.to_server.write(self.transport.take())
            with suppress(ssl.SSLError):
                self.server.do_handshake()
            data = self.from_server.read()
            for at in range(0, len(data), pieces):
                self.client.dataReceived(data[at : at + pieces])

    def lose(self) -> None:
        self.client.connectionLost(Failure(ConnectionDone()))


def test_request_and_reply(pki: Pki) -> None:
    """What one side writes the other side reads."""
    wires = Wires(pki)
    wires.client.write(b"a request")
    wires.pump()
    assert b"a request" == wires.server.read()
    wires.server.write(b"a reply")
    wires.pump()
    assert b"a reply" == wires.inner.received


@pytest.mark.parametrize("pieces", [1, 7, 4096, 1 << 20])
def test_large_reply_arrives_whole_however_it_is_cut(pki: Pki, pieces: int) -> None:
    """Several records in one piece, and records in many pieces."""
    wires = Wires(pki)
    content = bytes(range(256)) * 200
    wires.server.write(content)
    wires.pump(pieces)
    assert content == wires.inner.received


def test_what_was_not_read_is_seen(pki: Pki) -> None:
    """Part of a record, whatever its length; then what waits in the socket below."""
    wires = Wires(pki)
    wires.server.write(b"a reply")
    wires.pump()
    assert not wires.client.has_unread()
    wires.server.write(b"more")
    record = wires.from_server.read()
    for at in range(len(record) - 1):
        wires.client.dataReceived(record[at : at + 1])
        assert wires.client.has_unread()
    wires.client.dataReceived(record[-1:])
    assert b"a replymore" == wires.inner.received
    assert not wires.client.has_unread()
    wires.transport.unread = b"x"
    assert wires.client.has_unread()


def test_a_record_behind_a_response_is_seen(pki: Pki) -> None:
    """Its beginning came with the end of the response."""
    wires = Wires(pki)
    wires.server.write(b"a reply")
    reply = wires.from_server.read()
    wires.server.write(b"more")
    wires.client.dataReceived(reply + wires.from_server.read()[:9])
    assert b"a reply" == wires.inner.received
    assert wires.client.has_unread()


def test_large_request_is_sent_whole(pki: Pki) -> None:
    """More than one record holds."""
    wires = Wires(pki)
    content = bytes(range(256)) * 250
    wires.client.write(content)
    wires.pump()
    found = b""
    while len(found) < len(content):
        found += wires.server.read()
    assert content == found


@pytest.mark.parametrize("name", ["192.0.2.1", NAME])
def test_server_is_verified_by_address_or_name(pki: Pki, name: str) -> None:
    """The inner protocol learns of the connection after that."""
    assert Wires(pki, name).inner.is_made


@pytest.mark.parametrize("name", ["192.0.2.9", "elsewhere.example", "server"])
def test_wrong_name_ends_it_before_a_byte(pki: Pki, name: str) -> None:
    """The inner protocol never hears of it. The subject's common name is no name."""
    wires = Wires(pki, name)
    assert not wires.inner.is_made
    assert "aborted" == wires.transport.state
    assert "not valid for" in str(wires.failures[0])


def test_foreign_authority_ends_it_before_a_byte(pki: Pki) -> None:
    """A chain that does not lead to our CA."""
    wires = Wires(pki, context=build_context(pki.rogue)[0])
    assert not wires.inner.is_made
    assert "certificate" in str(wires.failures[0])


def test_goodbye_is_an_orderly_end(pki: Pki) -> None:
    """After a close_notify the end is not forged, and ours is sent."""
    wires = Wires(pki)
    with pytest.raises(ssl.SSLWantReadError):
        wires.server.unwrap()
    wires.pump()
    assert "closing" == wires.transport.state
    wires.lose()
    assert isinstance(wires.inner.end, ConnectionDone)
    wires.server.unwrap()


def test_end_without_goodbye_is_a_loss(pki: Pki) -> None:
    """Anybody can send a FIN."""
    wires = Wires(pki)
    wires.lose()
    assert isinstance(wires.inner.end, ConnectionLost)


def test_end_within_the_handshake_is_a_failure(pki: Pki) -> None:
    """The inner protocol has nothing to do with it."""
    wires = Wires(pki, server_trusts=None)
    other = TlsClient(
        wires.inner,
        build_context(pki.files)[0],
        NAME,
        session=None,
        failed=wires.failures.append,
    )
    other.makeConnection(cast("Any", FakeTransport()))
    other.connectionLost(Failure(ConnectionDone()))
    assert "during the TLS handshake" in str(wires.failures[0])
    assert wires.inner.end is None


def test_refused_certificate_is_an_alert_at_the_first_read(pki: Pki) -> None:
    """TLS 1.3 tells it after the handshake."""
    wires = Wires(pki, server_trusts=pki.rogue.ca_cert)
    assert wires.inner.is_made
    wires.lose()
    assert isinstance(wires.inner.end, AlertReceived)
    assert "unknown ca" in str(wires.inner.end)


def test_garbage_breaks_the_connection(pki: Pki) -> None:
    """It is a loss, and nothing is delivered."""
    wires = Wires(pki)
    wires.client.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
    wires.lose()
    assert "aborted" == wires.transport.state
    assert b"" == wires.inner.received
    assert isinstance(wires.inner.end, ConnectionLost)


def test_session_is_kept_for_the_server_that_was_verified(pki: Pki) -> None:
    """Another name at the same address must show its certificate."""
    files = TlsFiles(pki.files, emit=_ignore)
    wires = Wires(pki, context=files.context())
    wires.server.write(b"with it came a ticket")
    wires.pump()
    files.keep_session(SERVER, wires.client)
    session = files.session(SERVER)
    assert session is not None
    assert files.session((SERVER[0], "other.example")) is None
    again = Wires(pki, context=files.context(), session=session)
    assert again.inner.is_made


def test_session_of_replaced_files_is_forgotten(pki: Pki, tmp_path: Path) -> None:
    """It belongs to another certificate."""
    ours = tmp_path / "client.crt"
    ours.write_bytes(pki.files.client_cert.read_bytes())
    files = TlsFiles(replace(pki.files, client_cert=ours), emit=_ignore)
    wires = Wires(pki, context=files.context())
    wires.server.write(b"with it came a ticket")
    wires.pump()
    ours.write_bytes(pki.files.client_cert.read_bytes() + b"\n")
    files.context()
    files.keep_session(SERVER, wires.client)
    assert files.session(SERVER) is None


def _ignore(_: Event) -> None:
    return None
