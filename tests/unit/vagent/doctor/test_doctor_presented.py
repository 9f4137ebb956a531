"""What an untrusted server shows: OpenSSL on both sides, in memory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from OpenSSL import SSL

from lab.pki import Authority, KeyPair
from vagent.doctor import presented as module
from vagent.doctor.presented import MAX_TURNS, Presented, presented

NAME = "nova.example"


class Server:
    """Demands client certificates of `ca`, if any, and names it."""

    def __init__(self, pair: KeyPair, ca: Path | None, version: int) -> None:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.use_certificate_file(str(pair.cert))
        context.use_privatekey_file(str(pair.key))
        if ca is not None:
            context.load_verify_locations(str(ca))
            context.load_client_ca(str(ca).encode())
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        self.tls = SSL.Connection(context)
        self.tls.set_accept_state()
        self.heard = b""

    def talk(self, data: bytes) -> bytes:
        self.heard += data
        if data:
            self.tls.bio_write(data)
        with suppress(SSL.Error):
            self.tls.do_handshake()
        with suppress(SSL.WantReadError):
            return self.tls.bio_read(65536)
        return b""


@pytest.fixture(scope="module", name="pki")
def pki_fixture(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"), "their CA")


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_certificate_and_authorities(pki: Authority, version: int) -> None:
    """Of a server that nobody here trusts, and that would refuse us."""
    server = Server(pki.server("server", NAME), pki.cert, version)
    found = presented(NAME, server.talk)
    assert Presented("CN=server", "CN=their CA", ("CN=their CA",)) == found
    assert "; it shows CN=server, issued by CN=their CA" == found.shows()
    assert "; it takes those of CN=their CA" == found.takes()


def test_no_authority_is_named(pki: Authority) -> None:
    """A server that asks for no certificate, or for anybody's."""
    server = Server(pki.server("server", NAME), None, SSL.TLS1_3_VERSION)
    found = presented(NAME, server.talk)
    assert "CN=server" == found.subject
    assert "" == found.takes()


def test_names_are_cut_and_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may be anybody, and its name anything."""
    ca = Authority(tmp_path, "caf\u00e9\n\x1b[31m" + "x" * 40)
    monkeypatch.setattr(module, "MAX_NAME", 20)
    server = Server(ca.server("server", NAME), ca.cert, SSL.TLS1_3_VERSION)
    found = presented(NAME, server.talk)
    assert r"CN=caf\xe9\n\x1b[31mxxxxxxx" == found.issuer


def test_long_lists_are_cut() -> None:
    """Three authorities are told, the rest is counted."""
    seen = Presented("a", "b", ("c", "d", "e", "f", "g"))
    assert "; it takes those of c or d or e (2 more)" == seen.takes()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_speaks_no_tls_shows_nothing(answer: bytes) -> None:
    """Nor does what closes at once."""
    found = presented(NAME, lambda _: answer)
    assert Presented() == found
    assert "" == found.shows() + found.takes()


def test_a_server_that_drips_is_left() -> None:
    """After so many pieces it is enough."""
    head = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"
    pieces = iter([head] + [b"\x00"] * 20_000)
    turns = []

    def talk(data: bytes) -> bytes:
        turns.append(data)
        return next(pieces)

    assert Presented() == presented(NAME, talk)
    assert MAX_TURNS == len(turns)
