"""`vagentctl ask` on real sockets: the worked example, TLS, and servers that misbehave.

The server checks what Nova checks, with the secret of a well-known article.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab.pki import Authority
from vagent.config.model import ClientTls, Secret
from vagent.ctl import command_line
from vagent.ctl.asking.exchange import exchange
from vagent.ctl.asking.question import AskedEndpoint, AskedQuestion
from vagent.errors import VagentError

UUID = "32d0524b-314d-4594-b3a3-607e3f2354f8"
TENANT = "28a490a0f8b28800181ce490a74df8d2"
SECRET = b"deadbeef2eb84d8d"
SIGNATURE = "6bcbe3885ae7efc49cef35b438efe29c95501f4a720a0c53ed000d8fcf04a605"
LISTING = b"ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/"
QUESTION = AskedQuestion("/latest/meta-data", UUID, TENANT, Secret(SECRET))


class Nova(BaseHTTPRequestHandler):
    """One instance, and Nova's checks in Nova's order."""

    def do_GET(self) -> None:
        instance = self.headers["X-Instance-ID"] or ""
        expected = hmac.new(SECRET, instance.encode(), hashlib.sha256).hexdigest()
        if not instance:
            self._say(400, b"X-Instance-ID header is missing from request.")
        elif self.headers["X-Instance-ID-Signature"] != expected:
            self._say(403, b"Invalid proxy request signature.")
        elif (instance, self.headers["X-Tenant-ID"]) != (UUID, TENANT):
            self._say(404, b"The resource could not be found.")
        else:
            self._say(200, LISTING)

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def served(context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Nova)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def plain() -> Iterator[int]:
    yield from served()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def mutual(pki: Authority) -> Iterator[int]:
    """TLS; the certificate is for the name `nova`, clients need one of the CA."""
    pair = pki.server("nova", "nova")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki.cert))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pair.cert, pair.key)
    yield from served(context)


def files(pki: Authority, own: Authority | None = None) -> ClientTls:
    pair = (own or pki).client("operator")
    return ClientTls(pair.cert, pair.key, pki.cert)


def test_the_worked_example(plain: int, tmp_path: Path) -> None:
    """What the article does with curl and Python, as one command with the agent away:
    request, signature and answer; then with another secret.
    """
    (tmp_path / "state").mkdir()
    conf = tmp_path / "agent.conf"
    conf.touch(mode=0o600)

    def run(secret: bytes) -> tuple[int, str, str]:
        conf.write_text(
            "<config><agent><metadata-proxy><shared-secret>"
            f"{secret.decode()}</shared-secret></metadata-proxy></agent></config>"
        )
        out, said = io.StringIO(), io.StringIO()
        code = command_line.main(
            [
                *("--config", str(conf), "ask", "--instance", UUID, "--tenant", TENANT),
                *("--upstream", f"http://localhost:{plain}", "/latest/meta-data"),
            ],
            stdout=out,
            stderr=said,
        )
        return code, out.getvalue(), said.getvalue()

    code, out, said = run(SECRET)
    assert (0, LISTING.decode() + "\n") == (code, out)
    assert f"> X-Instance-ID: {UUID}\n> X-Tenant-ID: {TENANT}\n" in said
    assert f"> X-Instance-ID-Signature: {SIGNATURE}\n" in said
    assert "< 200 OK\n" in said
    code, out, said = run(b"another")
    assert (1, "Invalid proxy request signature.\n") == (code, out)
    assert "* X-Instance-ID-Signature: nova-api refused our signature" in said


def test_mutual_tls(mutual: int, pki: Authority) -> None:
    """Verified for the name of the endpoint, not for its address."""
    endpoint = AskedEndpoint("127.0.0.1", mutual, True, "nova")
    answer = exchange(endpoint, QUESTION, tls=files(pki), timeout=10)
    assert (200, LISTING) == (answer.status, answer.body)
    with pytest.raises(VagentError, match="the server's certificate is refused by /"):
        exchange(replace(endpoint, name=""), QUESTION, tls=files(pki), timeout=10)


def test_a_client_certificate_that_is_refused(
    mutual: int, pki: Authority, tmp_path: Path
) -> None:
    """Of another authority, which TLS 1.3 tells with the answer only."""
    endpoint = AskedEndpoint("127.0.0.1", mutual, True, "nova")
    stranger = files(pki, Authority(tmp_path, "another CA"))
    with pytest.raises(VagentError, match="our client certificate was refused"):
        exchange(endpoint, QUESTION, tls=stranger, timeout=10)


def test_the_authorities_of_the_system(mutual: int) -> None:
    """Without files of agent.conf they verify, and do not know this one."""
    endpoint = AskedEndpoint("127.0.0.1", mutual, True, "nova")
    with pytest.raises(VagentError, match="refused by the system's authorities"):
        exchange(endpoint, QUESTION, tls=None, timeout=10)


def test_files_that_cannot_be_used(mutual: int, tmp_path: Path) -> None:
    """The file is named."""
    nowhere = ClientTls(tmp_path / "c", tmp_path / "k", tmp_path / "a")
    endpoint = AskedEndpoint("127.0.0.1", mutual, True, "nova")
    with pytest.raises(VagentError, match="a: No such file"):
        exchange(endpoint, QUESTION, tls=nowhere, timeout=10)


def test_tls_to_a_server_without(plain: int, pki: Authority) -> None:
    """OpenSSL's reason is told, with the URL."""
    endpoint = AskedEndpoint("127.0.0.1", plain, True)
    with pytest.raises(VagentError, match=f"https://127.0.0.1:{plain}: "):
        exchange(endpoint, QUESTION, tls=files(pki), timeout=10)


def test_plain_http_to_a_server_with_tls(mutual: int) -> None:
    """It hangs up or sends an alert; the URL to try is told."""
    endpoint = AskedEndpoint("127.0.0.1", mutual)
    hint = f"no answer: .*; if it expects TLS: --upstream https://127.0.0.1:{mutual}"
    with pytest.raises(VagentError, match=f"(?s){hint}"):
        exchange(endpoint, QUESTION, tls=None, timeout=10)


def test_a_server_that_ends_tls_without_a_word(pki: Authority) -> None:
    """It is told as such."""
    with closing(socket.create_server(("127.0.0.1", 0))) as rude:

        def serve() -> None:
            connection, _ = rude.accept()
            with connection:
                connection.recv(4096)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        endpoint = AskedEndpoint("127.0.0.1", rude.getsockname()[1], True)
        with pytest.raises(VagentError, match="the server ended the connection"):
            exchange(endpoint, QUESTION, tls=files(pki), timeout=10)
        thread.join()


def test_nobody_listens() -> None:
    """A refused connection is told as such."""
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = AskedEndpoint("127.0.0.1", unused.getsockname()[1])
        with pytest.raises(VagentError, match="no connection: Connection refused"):
            exchange(endpoint, QUESTION, tls=None, timeout=10)


def test_a_server_that_says_nothing() -> None:
    """The time-out ends it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        endpoint = AskedEndpoint("127.0.0.1", silent.getsockname()[1])
        with pytest.raises(VagentError, match="no answer: timed out"):
            exchange(endpoint, QUESTION, tls=None, timeout=0.2)


@pytest.mark.parametrize("text", [b"nonsense\r\n\r\n", b""])
def test_a_server_that_speaks_something_else(text: bytes) -> None:
    """It is no answer."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:

        def serve() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(text)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        endpoint = AskedEndpoint("127.0.0.1", other.getsockname()[1])
        with pytest.raises(VagentError, match="no answer: "):
            exchange(endpoint, QUESTION, tls=None, timeout=10)
        thread.join()
