"""Promises of vagent.ctl.client: bounded, with a deadline, and plain about failures."""

from __future__ import annotations

import http.client
import io
import socket
from typing import Any

import pytest

from vagent.ctl.client import (
    MAX_REPLY,
    Address,
    ApiClient,
    CommandError,
    error_text,
    parse_url,
)

LOCAL = Address("127.0.0.1", 9091)


class Endless(io.BytesIO):
    """A reply that never ends; each read takes a second."""

    status = 200

    def __init__(self, piece: bytes) -> None:
        super().__init__()
        self.piece = piece
        self.reads = 0

    def read1(self, _size: int | None = -1) -> bytes:
        self.reads += 1
        return self.piece


class Connection:
    """Stands for HTTPConnection."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.closed = False

    def __call__(self, *_args: Any, **_kwargs: Any) -> Connection:
        return self

    def request(self, *_args: Any, **_kwargs: Any) -> None:
        if isinstance(self.reply, Exception):
            raise self.reply

    def getresponse(self) -> Any:
        return self.reply

    def close(self) -> None:
        self.closed = True


def error_of(
    monkeypatch: pytest.MonkeyPatch, reply: Any, **options: Any
) -> CommandError:
    connection = Connection(reply)
    monkeypatch.setattr(http.client, "HTTPConnection", connection)
    with pytest.raises(CommandError) as caught:
        ApiClient("port API", LOCAL, **options).json("GET", "/ports")
    assert connection.closed
    return caught.value


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (ConnectionRefusedError(), "nothing listens there; is vagent running?"),
        (TimeoutError(), "no answer within 10 s"),
        (socket.gaierror(-2, "x"), "no such host"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
        (http.client.BadStatusLine("x"), "x"),
        (http.client.IncompleteRead(b""), "IncompleteRead"),
    ],
)
def test_unreachable_is_69(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, says: str
) -> None:
    """Whatever the reason, which is named, with the address."""
    error = error_of(monkeypatch, fault)
    assert error.code == 69
    assert str(error).startswith("port API at http://127.0.0.1:9091: ")
    assert says in str(error)


def test_a_dripping_reply_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket's timeout is for one read only."""
    reply = Endless(b" ")
    error = error_of(monkeypatch, reply, clock=lambda: float(reply.reads))
    assert (error.code, reply.reads) == (69, 11)


def test_an_endless_reply_has_a_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """n bytes are taken, more is an error."""
    reply = Endless(b" " * 1024 * 1024)
    error = error_of(monkeypatch, reply, clock=lambda: 0.0)
    assert reply.reads == MAX_REPLY // (1024 * 1024) + 1
    assert "the reply is over" in str(error)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff", b"[" * 100_000])
def test_a_reply_must_be_json(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Another server on that port."""
    reply: Any = io.BytesIO(content)
    reply.status = 200
    assert str(error_of(monkeypatch, reply)).endswith("the reply is not JSON")


@pytest.mark.parametrize(
    ("status", "code"), [(199, 1), (300, 1), (400, 1), (401, 77), (403, 77), (500, 1)]
)
def test_a_refusal_has_a_code(
    monkeypatch: pytest.MonkeyPatch, status: int, code: int
) -> None:
    """Anything but 2xx fails; 401 and 403 are permission."""

    class Refusal(io.BytesIO):
        pass

    reply: Any = Refusal(b'{"error":"{ no }"}')
    reply.status = status
    error = error_of(monkeypatch, reply)
    assert (error.code, error.status) == (code, status)
    assert str(error).endswith(f"GET /ports: {status}: no")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'{"error":"{ Not Found }"}', "Not Found"),
        (b'{"error":"{Port Not found x}"}', "Port Not found x"),
        (b'{"error":"Unknown Request"}', "Unknown Request"),
        (b'{"error":{"code":1}}', '"code": 1'),
        (b'"text"', "text"),
        (b"plain\nmore", "plain"),
        (b"", ""),
        (b"x" * 1000, "x" * 500),
        (b"[" * 70_000, "[" * 500),
    ],
)
def test_error_texts_of_all_our_servers(content: bytes, text: str) -> None:
    """Contrail's braces go; a page of HTML does not fill the screen."""
    assert error_text(content) == text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:9091", "http://127.0.0.1:9091"),
        ("http://host:1/", "http://host:1"),
        ("http://[::1]:65535", "http://[::1]:65535"),
    ],
)
def test_urls(text: str, address: str) -> None:
    """Host and port, as given."""
    assert str(parse_url(text)) == address


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:1", "127.0.0.1:9091", "https://host:1", "http://host",
     "http://:1", "http://host:1/x", "http://host:1?x", "http://host:1#x",
     "http://u:p@host:1", "http://host:65536", "http://host:x", "http://[::1",
     "http://h\x1bst:1", "http://h\u00f6st:1"],
)  # fmt: skip
def test_urls_that_are_none(text: str) -> None:
    """Usage."""
    with pytest.raises(CommandError) as caught:
        parse_url(text)
    assert caught.value.code == 2


def test_repr_says_whom_it_calls() -> None:
    """For failing tests."""
    assert repr(ApiClient("x", LOCAL)) == "<ApiClient x http://127.0.0.1:9091>"
