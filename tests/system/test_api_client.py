"""The API client on real sockets: keystone, slow and broken servers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from provision.script.keystone import V2, V3, Credentials, Keystone
from vagent.web.json_client import NEVER_ANSWERED, ApiAddress, ApiError, JsonClient

CREDENTIALS = Credentials("admin", "secret", "project")


class Scripted(ThreadingHTTPServer):
    """Answers by (method, path); keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.got: list[tuple[str, dict[str, str], Any]] = []

    @property
    def address(self) -> ApiAddress:
        return ApiAddress("127.0.0.1", self.server_address[1])


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Scripted)
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length) or b"null")
        server.got.append((f"{self.command} {self.path}", dict(self.headers), body))
        status, headers, content = server.answers.get(self.path, (404, {}, b""))
        if self.path == "/needs-token" and "X-AUTH-TOKEN" not in self.headers:
            status = 401
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Scripted]:
    server = Scripted()
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}
    )
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_keystone_v3(server: Scripted) -> None:
    """v3: the password in v3's form, the token from the reply's header."""
    server.answers[V3] = (201, {"X-Subject-Token": "t3"}, b"{}")
    keystone = Keystone(server.address, domain="corp")
    assert keystone.authenticate(CREDENTIALS, timeout=5) == "t3"
    ((line, _, body),) = server.got
    assert line == f"POST {V3}"
    assert body["auth"]["identity"]["password"]["user"] == {
        "name": "admin",
        "domain": {"name": "corp"},
        "password": "secret",
    }
    assert body["auth"]["scope"]["project"]["name"] == "project"


def test_keystone_v2(server: Scripted) -> None:
    """Where v3 is not known, v2.0 is asked."""
    server.answers[V2] = (200, {}, b'{"access": {"token": {"id": "t2"}}}')
    assert Keystone(server.address).authenticate(CREDENTIALS, timeout=5) == "t2"
    assert [line for line, _, _ in server.got] == [f"POST {V3}", f"POST {V2}"]
    assert server.got[1][2] == {
        "auth": {
            "passwordCredentials": {"username": "admin", "password": "secret"},
            "tenantName": "project",
        }
    }


def test_keystone_configured_path(server: Scripted) -> None:
    """A configured path is the only one that is asked."""
    server.answers[V3] = (201, {"X-Subject-Token": "t3"}, b"{}")
    keystone = Keystone(server.address, path=V2)
    with pytest.raises(ApiError):
        keystone.authenticate(CREDENTIALS, timeout=5)
    assert len(server.got) == 1


@pytest.mark.parametrize(
    "body", [b"{}", b'{"access": []}', b'{"access": {"token": {}}}']
)
def test_keystone_refuses(server: Scripted, body: bytes) -> None:
    """No token: 401, and the message has the user but not the password."""
    server.answers[V2] = (200, {}, body)
    for answer in (server.answers[V2], (401, {}, b"")):
        server.answers[V2] = answer
        with pytest.raises(ApiError) as caught:
            Keystone(server.address).authenticate(CREDENTIALS, timeout=5)
        assert caught.value.status == 401
        assert "secret" not in str(caught.value)


def test_keystone_unreachable() -> None:
    """No keystone: said so, and v2.0 is not tried in vain."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        keystone = Keystone(ApiAddress("127.0.0.1", unused.getsockname()[1]))
        with pytest.raises(ApiError, match=V3) as caught:
            keystone.authenticate(CREDENTIALS, timeout=5)
    assert caught.value.status == NEVER_ANSWERED


def test_token_on_401(server: Scripted) -> None:
    """The API wants a token: keystone is asked and the call repeated with it."""
    server.answers[V3] = (201, {"X-Subject-Token": "t3"}, b"{}")
    server.answers["/needs-token"] = (200, {}, b'{"ok": true}')
    keystone = Keystone(server.address)
    client = JsonClient(
        server.address,
        authenticate=lambda: keystone.authenticate(CREDENTIALS, timeout=5),
    )
    assert client.json("GET", "/needs-token") == {"ok": True}
    assert server.got[-1][1]["X-AUTH-TOKEN"] == "t3"


def test_headers(server: Scripted) -> None:
    """Those of the client go along; its own content type goes before the usual one."""
    server.answers["/"] = (200, {}, b"{}")
    odd = 'application/json; charset="UTF-8"'
    client = JsonClient(
        server.address, headers={"X-Tenant-Name": "admin", "Content-type": odd}
    )
    client.call("POST", "/", {})
    headers = server.got[0][1]
    assert odd == headers["Content-type"]
    assert "admin" == headers["X-Tenant-Name"]


def test_no_redirect(server: Scripted) -> None:
    """A redirect is an error: credentials do not travel."""
    server.answers["/"] = (307, {"Location": "http://127.0.0.2/"}, b"")
    with pytest.raises(ApiError) as caught:
        JsonClient(server.address).call("GET", "/")
    assert caught.value.status == 307


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
def test_silent_server(answer: bytes) -> None:
    """A server that stops in the middle, or speaks no HTTP: never answered, in time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = ApiAddress("127.0.0.1", listener.getsockname()[1])

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer)
                connection.recv(65536)
                connection.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ApiError) as caught:
            JsonClient(address, timeout=0.2).call("GET", "/")
        thread.join()
    assert caught.value.status == NEVER_ANSWERED
