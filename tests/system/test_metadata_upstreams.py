"""Several endpoints over real TLS: files of their own, changed files, probes."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from lab.pki import Authority, KeyPair
from lab.waiting import wait_for
from tests.system.metadata_rig import (
    CLOSE,
    GET,
    OK,
    Serve,
    Serving,
    Start,
    always,
    read_head,
)
from vagent.certificates.per_endpoint import FILES
from vagent.config.model import ClientTls
from vagent.metadata.upstream.events import UpstreamEndpointChanged


def demanding(pki: Authority) -> ssl.SSLContext:
    """A server of this authority that wants a client of the same."""
    mine = pki.server("server", "127.0.0.1", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(mine.cert, mine.key)
    context.load_verify_locations(pki.cert)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def telling(subjects: list[str]) -> Serve:
    """Keep-alive; writes down whose certificate each connection showed."""

    def serve(connection: socket.socket, number: int) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        shown: Any = connection.getpeercert()
        subjects.append(shown["subject"][0][0][1])
        always(OK)(connection, number)

    return serve


def put(folder: Path, pair: KeyPair, ca: Path) -> ClientTls:
    """These files, under the names of a folder of an endpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in zip(FILES, (pair.cert, pair.key, ca), strict=True):
        shutil.copy(source, folder / name)
    return ClientTls(*(folder / name for name in FILES))


def test_two_endpoints_of_two_authorities(
    tmp_path: Path, start: Start, upstream: Serving
) -> None:
    """Each is shown the certificate that its own authority made, and is trusted by
    that alone; both serve at once.
    """
    one, two = Authority(tmp_path / "1"), Authority(tmp_path / "2", "another CA")
    subjects: tuple[list[str], list[str]] = ([], [])
    first = upstream(telling(subjects[0]), demanding(one))
    second = upstream(telling(subjects[1]), demanding(two))
    files = put(tmp_path / "all", one.client("agent-1"), one.cert)
    put(tmp_path / "by" / "localhost", two.client("agent-2"), two.cert)
    tls = ClientTls(files.client_cert, files.client_key, files.ca_cert, tmp_path / "by")
    running = start(tls=tls)
    running.target(first.port)
    assert running.ask(CLOSE).endswith(b"hello")
    running.target(second.port, host="localhost", name="localhost")
    assert running.ask(CLOSE).endswith(b"hello")
    assert ({"agent-1"}, {"agent-2"}) == (set(subjects[0]), set(subjects[1]))
    # The other way round nothing leaves: neither trusts the other's authority.
    shutil.rmtree(tmp_path / "by" / "localhost")
    running.target(second.port, host="127.0.0.1", name="localhost")
    assert running.ask(CLOSE).startswith(b"HTTP/1.1 503 ")
    assert ["agent-2"] == subjects[1]


def test_changed_files_are_used_and_no_connection_is_dropped(
    tmp_path: Path, start: Start, upstream: Serving
) -> None:
    """The guest's connection and the upstream's go on over a change, and over a time
    when the files do not belong together; a new connection shows the new certificate.
    """
    pki = Authority(tmp_path / "pki")
    subjects: list[str] = []
    server = upstream(telling(subjects), demanding(pki))
    files = put(tmp_path / "tls", pki.client("old"), pki.cert)
    running = start(tls=files)
    running.target(server.port)
    kept = running.connect()

    def served() -> bool:
        kept.sendall(GET)
        return read_head(kept).endswith(b"hello")

    assert served()
    new = pki.client("new")
    shutil.copy(new.cert, files.client_cert)  # its key does not fit now
    assert served()
    shutil.copy(new.key, files.client_key)
    assert served()
    assert ["old"] == subjects
    running.target()  # what is idle is closed, so the next one is new
    running.target(server.port)
    assert served()
    assert ["old", "new"] == subjects
    assert [] == running.labels()


@pytest.mark.parametrize("refuses", [False, True])
def test_probes_know_before_a_guest_asks(
    tmp_path: Path, start: Start, upstream: Serving, refuses: bool
) -> None:
    """A server that refuses our certificate, which TLS 1.3 tells after the handshake,
    is found by a probe; a good one has its connection ready. No guest was there.
    """
    pki, rogue = Authority(tmp_path / "pki"), Authority(tmp_path / "rogue", "rogue")
    heads: list[bytes] = []
    server = upstream(always(OK, heads), demanding(pki))
    client = (rogue if refuses else pki).client("agent")
    running = start(tls=put(tmp_path / "tls", client, pki.cert), probe_interval=1)
    running.target(server.port)
    state = "DOWN" if refuses else "UP"
    wait_for(lambda: running.snapshot().endpoints[0].state.name, state.__eq__)
    wait_for(lambda: running.snapshot().endpoints[0].last_probe)
    if refuses:
        assert [] == heads
    else:
        wait_for(lambda: len(heads) >= 2)
        assert all(head.startswith(b"GET / HTTP/1.1\r\n") for head in heads)
        assert b"X-" not in b"".join(heads)


def revoking(pki: Authority, certificate: Path, folder: Path) -> ssl.SSLContext:
    """As `demanding`, with a revocation list that has this certificate on it."""
    crl = folder / "crl.pem"
    crl.write_bytes(pki.revoke(certificate))
    context = demanding(pki)
    context.load_verify_locations(crl)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("foreign", "the server does not trust the authority that issued it"),
        ("expired", "it has expired, or is not valid yet"),
        ("revoked", "it is revoked"),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_refused_certificate_is_named_and_told_once(
    tmp_path: Path,
    start: Start,
    upstream: Serving,
    case: str,
    why: str,
    version: ssl.TLSVersion,
) -> None:
    """OpenSSL refuses our certificate within the handshake (TLS 1.2) or after it: the
    endpoint goes down once while requests wait, and the words name file, subject, end
    and reason. With another certificate in the same files it serves again.
    """
    pki = Authority(tmp_path / "pki")
    client = pki.client("agent")
    if case == "foreign":
        client = Authority(tmp_path / "rogue", "rogue").client("agent")
    elif case == "expired":
        client = pki.client("agent", lifetime=dt.timedelta(minutes=-1))
    revoked = case == "revoked"
    context = revoking(pki, client.cert, tmp_path) if revoked else demanding(pki)
    context.minimum_version = context.maximum_version = version
    server = upstream(always(OK), context)
    files = put(tmp_path / "tls", client, pki.cert)
    running = start(tls=files)
    running.target(server.port)
    for _ in range(2):
        assert running.ask(CLOSE).startswith(b"HTTP/1.1 503 ")
    assert server.accepted > 2  # it was tried again and again
    changes = [e for e in running.events if isinstance(e, UpstreamEndpointChanged)]
    assert ["DOWN"] == [one.state.name for one in changes]
    text = changes[0].text()
    assert f"our client certificate was refused: {why}" in text
    named = f"{files.client_cert}, CN=agent, valid until 20"
    assert named in text
    (endpoint,) = running.snapshot().endpoints
    assert endpoint.is_refused
    assert endpoint.problem in text
    assert endpoint.certificate.startswith(named)
    put(tmp_path / "tls", pki.client("other"), pki.cert)
    assert running.ask(CLOSE).endswith(b"hello")
    assert ["UP"] == [one.state.name for one in running.snapshot().endpoints]
