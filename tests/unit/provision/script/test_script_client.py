"""The client beyond the wire: authentication, errors, messages."""

from __future__ import annotations

import pytest

from provision.script.client import Answer, ApiClient, ApiError, Endpoint


class ScriptedClient(ApiClient):
    """Gets the answers that it was given, one after another."""

    def __init__(self, *answers: Answer, token: str | None = None) -> None:
        self.asked = 0
        super().__init__(
            Endpoint("::1", 8082),
            authenticate=None if token is None else lambda: self.token(token),
        )
        self.answers = list(answers)
        self.sent: list[tuple[str, str, str]] = []

    def token(self, token: str) -> str:
        self.asked += 1
        return token

    def _send(self, method: str, path: str, body: bytes, etag: str) -> Answer:
        self.sent.append((method, path, self._headers.get("X-AUTH-TOKEN", "")))
        return self.answers.pop(0)


def test_endpoint() -> None:
    """An endpoint reads as a URL."""
    assert str(Endpoint("10.0.0.5", 8082)) == "http://10.0.0.5:8082"
    assert str(Endpoint("::1", 443, tls=True)) == "https://[::1]:443"


def test_authenticates_once() -> None:
    """A 401 gets a token and a second try; the token then stays."""
    client = ScriptedClient(
        Answer(401, b""), Answer(200, b"{}"), Answer(200, b"{}"), token="secret"
    )
    client.call("GET", "/a")
    client.call("GET", "/b")
    assert client.sent == [
        ("GET", "/a", ""),
        ("GET", "/a", "secret"),
        ("GET", "/b", "secret"),
    ]
    assert client.asked == 1
    assert "secret" not in repr(client)


def test_second_401() -> None:
    """A 401 with a token is final."""
    client = ScriptedClient(Answer(401, b""), Answer(401, b"no"), token="secret")
    with pytest.raises(ApiError, match="401 no") as caught:
        client.call("GET", "/")
    assert caught.value.status == 401
    assert "secret" not in str(caught.value)


def test_no_way_to_authenticate() -> None:
    """Without credentials a 401 is final at once."""
    with pytest.raises(ApiError):
        ScriptedClient(Answer(401, b"")).call("GET", "/")


def test_error_message() -> None:
    """An error says where, what and the server's words, on one short line."""
    client = ScriptedClient(Answer(400, b"Bad\x1b[2J\nproperty " + b"x" * 10_000))
    with pytest.raises(ApiError) as caught:
        client.call("PUT", "/x?password=1")
    text = str(caught.value)
    assert text.startswith("http://[::1]:8082: PUT /x: 400 Bad [2J property xxx")
    assert text.isprintable()
    assert len(text) < 600
    assert caught.value.status == 400


@pytest.mark.parametrize("status", [204, 301, 307, 404, 500])
def test_not_success(status: int) -> None:
    """Only 200–202 are success; redirects are not followed."""
    with pytest.raises(ApiError) as caught:
        ScriptedClient(Answer(status, b"")).call("GET", "/")
    assert caught.value.status == status


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"{}", b"\xff"])
def test_nonsense(body: bytes) -> None:
    """An answer of the wrong shape is an ApiError, never a KeyError."""
    for call in (
        lambda client: client.fq_name_to_id("k", ["n"]),
        lambda client: client.create("k", {}),
        lambda client: client.read("k", "u"),
    ):
        with pytest.raises(ApiError) as caught:
            call(ScriptedClient(Answer(200, body)))
        assert caught.value.status == 502


def test_read_with_etag() -> None:
    """A read gives the object and its ETag; none is ""."""
    answers = (Answer(200, b'{"k":{"a":1}}', {"etag": '"7"'}), Answer(200, b'{"k":{}}'))
    client = ScriptedClient(*answers)
    assert client.read("k", "u") == ({"a": 1}, '"7"')
    assert client.read("k", "u") == ({}, "")


def test_fq_name_to_id() -> None:
    """404 is None; other errors are errors."""
    client = ScriptedClient(Answer(404, b""), Answer(500, b""))
    assert client.fq_name_to_id("k", ["n"]) is None
    with pytest.raises(ApiError):
        client.fq_name_to_id("k", ["n"])
