"""JSON in and out of the config API, with its limits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provision.config_api.reply import (
    MAX_BODY,
    MAX_DEPTH,
    ConfigApiReply,
    ConfigApiRequest,
    RefusedError,
    json_object,
    json_reply,
    member,
    text_reply,
)


def nested(depth: int) -> bytes:
    """An object of that many levels, lists and objects in turn."""
    levels = "".join('{"a":' if n % 2 == 0 else "[" for n in range(depth - 1))
    ends = "".join("}" if n % 2 == 0 else "]" for n in reversed(range(depth - 1)))
    return f"{levels}{'{}' if depth % 2 else '[]'}{ends}".encode()


@pytest.mark.parametrize("depth", [1, MAX_DEPTH - 1, MAX_DEPTH])
def test_depth(depth: int) -> None:
    """32 levels of nesting are taken."""
    assert json_object(nested(depth)) is not None


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1000, 100_001])
def test_too_deep(depth: int) -> None:
    """One more is refused, and a hundred thousand do not end the process."""
    with pytest.raises(RefusedError) as caught:
        json_object(nested(depth))
    assert caught.value.status == 400


@pytest.mark.parametrize("excess", [-1, 0])
def test_size(excess: int) -> None:
    """A body of exactly 1 MiB is taken."""
    body = b'{"a":"%s"}' % (b"x" * (MAX_BODY + excess - 8))
    assert len(body) == MAX_BODY + excess
    assert json_object(body)


def test_too_large() -> None:
    """One byte more is 413."""
    with pytest.raises(RefusedError) as caught:
        json_object(b" " * (MAX_BODY + 1))
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff{}", "not JSON"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "not JSON"),
        (b"[]", "a JSON array"),
        (b'"x"', "a JSON string"),
        (b"null", "a JSON null"),
        (b"true", "a JSON boolean"),
        (b"1.5", "a JSON number"),
    ],
)
def test_not_an_object(body: bytes, text: str) -> None:
    """What is no JSON object is 400 and says what it is."""
    with pytest.raises(RefusedError, match=text) as caught:
        json_object(body)
    assert caught.value.reply().status == 400


def test_member() -> None:
    """Resources are wrapped in their type."""
    assert member({"x": {"y": 1}}, "x") == {"y": 1}
    bodies: list[dict[str, Any]] = [{}, {"x": None}, {"x": []}]
    for body in bodies:
        with pytest.raises(RefusedError, match='no JSON object under "x"'):
            member(body, "x")


def test_replies() -> None:
    """JSON is JSON; an error's text is the whole body."""
    reply = json_reply({"a": "ä"}, revision=3)
    assert json.loads(reply.body) == {"a": "ä"}
    assert (reply.status, reply.revision) == (200, 3)
    assert reply.content_type.startswith("application/json")
    refused = text_reply(404, "Not found ä\ud800")
    assert refused.body == "Not found ä?".encode()
    assert refused.content_type.startswith("text/plain")


def test_repr() -> None:
    """Bodies hold instances' secrets: no repr shows one."""
    assert "secret" not in repr(ConfigApiRequest("PUT", "/", body=b"secret"))
    assert "secret" not in repr(ConfigApiReply(200, b"secret"))
