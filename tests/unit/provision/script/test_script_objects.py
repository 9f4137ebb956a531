"""Objects of Contrail's config API: what is sent, and what may come back."""

from __future__ import annotations

import pytest

from provision.script.objects import ConfigObjects
from vagent.web.json_client import BROKEN, ApiAddress, ApiError, ApiReply, JsonClient


class ScriptedClient(JsonClient):
    """Gets the replies that it was given, one after another."""

    def __init__(self, *replies: ApiReply) -> None:
        super().__init__(ApiAddress("::1", 8082))
        self.replies = list(replies)
        self.sent: list[tuple[str, str, bytes, str]] = []

    def _ask(self, method: str, path: str, body: bytes, etag: str) -> ApiReply:
        self.sent.append((method, path, body, etag))
        return self.replies.pop(0)


def objects(*replies: ApiReply) -> ConfigObjects:
    return ConfigObjects(ScriptedClient(*replies))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"{}", b"\xff"])
def test_nonsense(body: bytes) -> None:
    """A reply of the wrong shape is an ApiError, never a KeyError."""
    for call in (
        lambda objects: objects.fq_name_to_id("k", ["n"]),
        lambda objects: objects.create("k", {}),
        lambda objects: objects.read("k", "u"),
    ):
        with pytest.raises(ApiError) as caught:
            call(objects(ApiReply(200, body)))
        assert BROKEN == caught.value.status


def test_read_with_etag() -> None:
    """A read gives the object and its ETag; none is ""."""
    found = objects(
        ApiReply(200, b'{"k":{"a":1}}', {"etag": '"7"'}), ApiReply(200, b'{"k":{}}')
    )
    assert ({"a": 1}, '"7"') == found.read("k", "u")
    assert ({}, "") == found.read("k", "u")


def test_fq_name_to_id() -> None:
    """404 is None; other errors are errors."""
    found = objects(
        ApiReply(200, b'{"uuid":"u"}'), ApiReply(404, b""), ApiReply(500, b"")
    )
    assert "u" == found.fq_name_to_id("k", ["n"])
    assert found.fq_name_to_id("k", ["n"]) is None
    with pytest.raises(ApiError):
        found.fq_name_to_id("k", ["n"])


def test_what_is_sent() -> None:
    """Contrail's paths and bodies; the ETag goes with an update only."""
    client = ScriptedClient(
        ApiReply(200, b'{"k":{"uuid":"u"}}'),
        ApiReply(200, b'{"k":{}}'),
        ApiReply(200, b"done"),
    )
    found = ConfigObjects(client)
    assert "u" == found.create("k", {"a": 1})
    found.read("k", "u")
    assert "done" == found.update("k", "u", {"a": 2}, etag='"7"')
    read = "/k/u?exclude_back_refs=True&exclude_children=True"
    assert [
        ("POST", "/ks", b'{"k": {"a": 1}}', ""),
        ("GET", read, b"", ""),
        ("PUT", "/k/u", b'{"k": {"a": 2}}', '"7"'),
    ] == client.sent


def test_where() -> None:
    """Objects read as the address of their server."""
    assert "http://[::1]:8082" == str(objects())
