"""The metadata server on a real socket of loopback, with real TLS and a real client.

The server runs in a process of its own on the real reactor; the client is Python's
`http.client`, which shares no code with it.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

UUID = "1a2b3c00-0000-4000-8000-000000000003"
TENANT = "7e000000000040008000000000000001"
SECRET = "deadbeef2eb84d8d"
SIGNATURE = hmac.new(SECRET.encode(), UUID.encode(), hashlib.sha256).hexdigest()
SIGNED = {
    "X-Instance-ID": UUID,
    "X-Tenant-ID": TENANT,
    "X-Instance-ID-Signature": SIGNATURE,
    "X-Forwarded-For": "10.0.0.5",
}
DOCUMENT = {
    "uuid": UUID,
    "tenant_id": TENANT,
    "name": "web",
    "user_data_base64": "AAECAwQFBgcICQr//g==",
}
BINARY = bytes([*range(11), 0xFF, 0xFE])

SERVER = """
import json, os, sys, time
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from vagent.config.model import MetadataServerConfig, Secret
from vagent.metadata.http.date import HttpDate
from vagent.nova.authority import Authority
from vagent.nova.server import metadata_site
from vagent.nova.source import StoredInstances, StoredPasswords
from vagent.nova.tls import TlsFactory
from vagent.nova.tls_files import server_contexts
from vagent.store.memory import MemoryStore

folder, secret, document = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
config = MetadataServerConfig(
    shared_secret=Secret(secret.encode()), server_cert=folder / "server.crt",
    server_key=folder / "server.key", client_ca=folder / "ca.crt")
store = MemoryStore()
Deferred.fromCoroutine(
    store.put("instance", document["uuid"], document, expected=0))
instances = StoredInstances(store, print)
instances.start()
site = metadata_site(
    instances, StoredPasswords(store), Authority(config.shared_secret),
    entropy=os.urandom, emit=lambda event: None, reactor=reactor,
    date=HttpDate(time.time, reactor.seconds))
secured = TlsFactory(
    server_contexts(config, print), site, emit=print, clock=reactor)
port = reactor.listenTCP(0, secured, interface="127.0.0.1")
print(port.getHost().port, flush=True)
reactor.run()
"""


@dataclass
class Running:
    port: int
    folder: Path

    def context(self, name: str | None = "client") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        if name is not None:
            context.load_cert_chain(
                self.folder / f"{name}.crt", self.folder / f"{name}.key"
            )
        return context

    def connect(self, name: str | None = "client") -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=10, context=self.context(name)
        )


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_ca(folder: Path, name: str) -> None:
    openssl(
        folder, "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
        "-keyout", f"{name}.key", "-out", f"{name}.crt",
    )  # fmt: skip


def issue(folder: Path, ca: str, name: str) -> None:
    openssl(
        folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
        "-out", f"{name}.csr",
    )  # fmt: skip
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.crt",
        "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", "2",
        "-extfile", "names", "-out", f"{name}.crt",
    )  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("nova")
    make_ca(folder, "ca")
    make_ca(folder, "otherca")
    issue(folder, "ca", "server")
    issue(folder, "ca", "client")
    issue(folder, "otherca", "rogue")
    root = Path(__file__).parents[2]
    arguments = [str(folder), SECRET, json.dumps(DOCUMENT)]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SERVER, *arguments],
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield Running(int(process.stdout.readline()), folder)
        finally:
            process.terminate()
            process.wait(10)


def test_conversation_on_one_connection(running: Running) -> None:
    """A signed client walks the trees over one kept-alive mutual TLS connection."""
    connection = running.connect()
    found = {}
    for path in (
        "/latest/meta-data/local-ipv4",
        "/openstack/latest/meta_data.json",
        "/latest/user-data",
        "/nope",
    ):
        connection.request("GET", path, headers=SIGNED)
        answer = connection.getresponse()
        found[path] = answer.status, answer.read()
        assert answer.getheader("Content-Length") is not None
    used = connection.sock
    connection.request("HEAD", "/latest/user-data", headers=SIGNED)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    assert connection.sock is used
    connection.close()
    assert found["/latest/meta-data/local-ipv4"] == (200, b"10.0.0.5")
    status, document = found["/openstack/latest/meta_data.json"]
    assert (status, json.loads(document)["uuid"]) == (200, UUID)
    assert found["/latest/user-data"] == (200, BINARY)
    assert found["/nope"][0] == 404


def test_password_is_kept(running: Running) -> None:
    """A posted password is read back; a second one is a conflict."""
    path = "/openstack/latest/password"
    connection = running.connect()
    seen = []
    for method, content in (("POST", b"first"), ("POST", b"second"), ("GET", None)):
        connection.request(method, path, body=content, headers=SIGNED)
        answer = connection.getresponse()
        seen.append((answer.status, answer.read()))
    connection.close()
    assert [status for status, _ in seen] == [200, 409, 200]
    assert seen[2][1] == b"first"


def ask_root(connection: http.client.HTTPSConnection) -> None:
    # With TLS 1.3 a client learns of its refusal when it first reads.
    connection.request("GET", "/")
    connection.getresponse()


@pytest.mark.parametrize("name", [None, "rogue"])
def test_wrong_clients_are_refused(running: Running, name: str | None) -> None:
    """Without a certificate, or with a stranger's, no HTTP is spoken."""
    connection = running.connect(name)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask_root(connection)
    connection.close()


def test_plain_http_is_refused(running: Running) -> None:
    """Plain HTTP to the TLS port gets no answer."""
    with socket.create_connection(("127.0.0.1", running.port), 10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            answer = plain.recv(1000)
        except ConnectionResetError:
            answer = b""
    assert b"HTTP" not in answer


def test_unsigned_requests_are_refused(running: Running) -> None:
    """The client certificate alone opens nothing but the list of versions."""
    connection = running.connect()
    for path, expected in (("/", 200), ("/latest", 400)):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert expected == answer.status
    connection.close()


def test_answers_are_not_delayed(running: Running) -> None:
    """Answers do not wait for delayed ACKs (40 ms each on Linux)."""
    connection = running.connect()
    connection.request("GET", "/latest", headers=SIGNED)
    connection.getresponse().read()
    began = time.monotonic()
    for _ in range(20):
        connection.request("GET", "/latest/user-data", headers=SIGNED)
        connection.getresponse().read()
    connection.close()
    assert time.monotonic() - began < 20 * 0.040 / 2
