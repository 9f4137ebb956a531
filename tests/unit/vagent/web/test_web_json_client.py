"""Promises of vagent.web.json_client: bounds, a deadline, plain words on failures."""

from __future__ import annotations

import http.client
import io
import socket
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from vagent.web.json_client import (
    BROKEN,
    MAX_REPLY,
    NEVER_ANSWERED,
    ApiAddress,
    ApiError,
    ApiReply,
    JsonClient,
    SocketAddress,
    error_text,
)

LOCAL = ApiAddress("127.0.0.1", 9091)


class Response(io.BytesIO):
    """Stands for HTTPResponse."""

    length: int | None = None

    def __init__(self, content: bytes, *, status: int = 200) -> None:
        super().__init__(content)
        self.status = status

    def getheaders(self) -> list[tuple[str, str]]:
        return [("ETag", '"7"')]


class Endless(Response):
    """A reply that never ends; each read takes a second."""

    def __init__(self, piece: bytes) -> None:
        super().__init__(b"")
        self.piece = piece
        self.reads = 0

    def read1(self, _size: int | None = -1) -> bytes:
        self.reads += 1
        return self.piece


class Connection:
    """Stands for HTTPConnection."""

    def __init__(self, reply: Response | Exception) -> None:
        self.reply = reply
        self.requests: list[tuple[Any, ...]] = []
        self.closed = False

    def __call__(self, *_args: Any, **_kwargs: Any) -> Connection:
        return self

    def request(self, method: str, path: str, *, body: Any, headers: Any) -> None:
        self.requests.append((method, path, body, headers))
        if isinstance(self.reply, Exception):
            raise self.reply

    def getresponse(self) -> Any:
        return self.reply

    def close(self) -> None:
        self.closed = True


class ScriptedClient(JsonClient):
    """Gets the replies that it was given, one after another."""

    def __init__(self, *replies: ApiReply, token: str | None = None) -> None:
        self.asked = 0
        super().__init__(
            ApiAddress("::1", 8082),
            authenticate=None if token is None else lambda: self.token(token),
        )
        self.replies = list(replies)
        self.sent: list[tuple[str, str, str]] = []

    def token(self, token: str) -> str:
        self.asked += 1
        return token

    def _ask(self, method: str, path: str, body: bytes, etag: str) -> ApiReply:
        self.sent.append((method, path, self._headers.get("X-AUTH-TOKEN", "")))
        return self.replies.pop(0)


def error_of(
    monkeypatch: pytest.MonkeyPatch, reply: Response | Exception, **options: Any
) -> ApiError:
    connection = Connection(reply)
    monkeypatch.setattr(http.client, "HTTPConnection", connection)
    client = JsonClient(LOCAL, title="port API", **options)
    with pytest.raises(ApiError) as caught:
        client.json("GET", "/ports?secret=1")
    assert connection.closed
    return caught.value


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (ConnectionRefusedError(), "nothing listens there"),
        (TimeoutError(), "no answer within 10 s"),
        (socket.gaierror(-2, "x"), "no such host"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
        (http.client.BadStatusLine("x"), "x"),
        (http.client.IncompleteRead(b""), "IncompleteRead"),
    ],
)
def test_no_answer(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, says: str
) -> None:
    """Whatever the reason, which is named, with the address and what was asked."""
    error = error_of(monkeypatch, fault)
    assert NEVER_ANSWERED == error.status
    assert str(error).startswith("port API at http://127.0.0.1:9091: GET /ports: ")
    assert says in str(error)


def test_a_dripping_reply_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket's timeout is for one read only."""
    reply = Endless(b" ")
    error = error_of(monkeypatch, reply, clock=lambda: float(reply.reads))
    assert (NEVER_ANSWERED, 11) == (error.status, reply.reads)


def test_an_endless_reply_has_a_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """n bytes are taken, more is an error."""
    reply = Endless(b" " * 1024 * 1024)
    error = error_of(monkeypatch, reply, clock=lambda: 0.0)
    assert MAX_REPLY // (1024 * 1024) + 1 == reply.reads
    assert "the reply is longer than" in str(error)
    assert BROKEN == error.status


def test_a_reply_that_is_cut_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a list must not pass for a list."""
    reply = Response(b"[]")
    reply.length = 5
    error = error_of(monkeypatch, reply)
    assert NEVER_ANSWERED == error.status
    assert "IncompleteRead" in str(error)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff", b"[" * 100_000])
def test_a_reply_must_be_json(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Another server on that port."""
    error = error_of(monkeypatch, Response(content))
    assert str(error).endswith("GET /ports: the reply is not JSON")
    assert BROKEN == error.status


@pytest.mark.parametrize("status", [199, 300, 301, 307, 400, 401, 404, 500])
def test_a_refusal(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Anything but 2xx fails, redirects included; the server's words are told."""
    error = error_of(monkeypatch, Response(b'{"error":"{ no }"}', status=status))
    assert status == error.status
    assert str(error).endswith(f": GET /ports: {status}: no")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """2xx, with what came."""
    monkeypatch.setattr(
        http.client, "HTTPConnection", Connection(Response(b"{}", status=status))
    )
    reply = JsonClient(LOCAL).send("GET", "/")
    assert (status, b"{}", '"7"') == (reply.status, reply.body, reply.etag)


def test_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON and its type where there is a value; If-Match where there is an ETag."""
    connection = Connection(Response(b"{}"))
    monkeypatch.setattr(http.client, "HTTPConnection", connection)
    JsonClient(LOCAL, headers={"X-A": "é"}).send("GET", "/a?b")
    connection.reply = Response(b"{}")
    JsonClient(LOCAL).send("PUT", "/a", {"b": 1}, etag='"7"')
    connection.reply = Response(b"{}")
    JsonClient(LOCAL, headers={"Content-type": "c"}).send("PUT", "/a", [])
    typed = {"Content-Type": b"application/json", "If-Match": b'"7"'}
    assert [
        ("GET", "/a?b", None, {"X-A": "é".encode()}),
        ("PUT", "/a", b'{"b": 1}', typed),
        ("PUT", "/a", b"[]", {"Content-type": b"c"}),
    ] == connection.requests


def test_authenticates_once() -> None:
    """A 401 gets a token and a second try; the token then stays."""
    client = ScriptedClient(
        ApiReply(401, b""), ApiReply(200, b"{}"), ApiReply(200, b"{}"), token="secret"
    )
    client.call("GET", "/a")
    client.call("GET", "/b")
    assert [
        ("GET", "/a", ""),
        ("GET", "/a", "secret"),
        ("GET", "/b", "secret"),
    ] == client.sent
    assert 1 == client.asked
    assert "secret" not in repr(client)


def test_second_401() -> None:
    """A 401 with a token is final."""
    client = ScriptedClient(ApiReply(401, b""), ApiReply(401, b"no"), token="secret")
    with pytest.raises(ApiError, match="401: no") as caught:
        client.call("GET", "/")
    assert 401 == caught.value.status
    assert "secret" not in str(caught.value)


def test_no_way_to_authenticate() -> None:
    """Without credentials a 401 is final at once."""
    with pytest.raises(ApiError):
        ScriptedClient(ApiReply(401, b"")).call("GET", "/")


def test_a_message_is_one_short_line() -> None:
    """Where, what and the server's words, without the query."""
    client = ScriptedClient(ApiReply(400, b"Bad\x1b[2J\nproperty " + b"x" * 10_000))
    with pytest.raises(ApiError) as caught:
        client.call("PUT", "/x?password=1")
    text = str(caught.value)
    assert text.startswith("http://[::1]:8082: PUT /x: 400: Bad [2J property xxx")
    assert text.isprintable()
    assert len(text) < 600


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'{"error":"{ Not Found }"}', "Not Found"),
        (b'{"error":"{Port Not found x}"}', "Port Not found x"),
        (b'{"error":"Unknown Request"}', "Unknown Request"),
        (b'{"error":{"code":1}}', '"code": 1'),
        (b'{"error":"a\\u001b[2Jb"}', "a [2Jb"),
        (b'"text"', "text"),
        (b" plain\r\nmore ", "plain more"),
        (b"", ""),
        (b"x" * 1000, "x" * 500),
        (b"[" * 70_000, "[" * 500),
    ],
)
def test_error_texts_of_all_servers(content: bytes, text: str) -> None:
    """Contrail's braces go; a page of HTML does not fill the screen."""
    assert text == error_text(content)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (ApiAddress("10.0.0.5", 8082), "http://10.0.0.5:8082"),
        (ApiAddress("::1", 443, tls=True), "https://[::1]:443"),
    ],
)
def test_an_address_is_a_url(address: ApiAddress, text: str) -> None:
    """IPv6 in brackets; https with TLS."""
    assert text == str(address)


def test_repr_says_whom_it_calls() -> None:
    """For failing tests."""
    assert "<JsonClient x at http://127.0.0.1:9091>" == repr(
        JsonClient(LOCAL, title="x")
    )


class SocketServer:
    """One answer on a Unix socket, and what was asked."""

    def __init__(self, path: Path) -> None:
        self.asked = b""
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._thread = Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        connection = self._server.accept()[0]
        with connection, self._server:
            self.asked = connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")

    def done(self) -> bytes:
        self._thread.join(10)
        return self.asked


def test_a_call_by_a_unix_socket(tmp_path: Path) -> None:
    """As over TCP; this host is called localhost."""
    path = tmp_path / "s"
    server = SocketServer(path)
    client = JsonClient(SocketAddress(path), title="port API")
    assert [] == client.json("GET", "/ports")
    assert b"GET /ports HTTP/1.1\r\nHost: localhost\r\n" in server.done()
    assert f"<JsonClient port API at unix:{path}>" == repr(client)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (ConnectionRefusedError(), "nothing listens there"),
        (PermissionError(13, "Permission denied"), "permission denied: only root and"),
    ],
)
def test_a_unix_socket_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, fault: OSError, says: str
) -> None:
    """Of an agent that is gone, or of one that this user may not call."""

    def refuse(*_arguments: Any) -> None:
        raise fault

    monkeypatch.setattr(socket.socket, "connect", refuse)
    client = JsonClient(SocketAddress(Path("/nowhere/s")))
    with pytest.raises(ApiError, match=says) as caught:
        client.call("GET", "/ports")
    assert NEVER_ANSWERED == caught.value.status


def test_our_own_server_wants_no_keystone() -> None:
    """It says Bearer; an account in Keystone would not help."""
    challenge = {"www-authenticate": 'Bearer realm="vagent"'}
    client = ScriptedClient(ApiReply(401, b"token", challenge), token="t")
    with pytest.raises(ApiError) as caught:
        client.call("GET", "/")
    assert (401, 0) == (caught.value.status, client.asked)
