"""Refusals take the form that the Accept header asks for, as webob's do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vagent.nova import reply
from vagent.nova.reply import (
    HTML,
    JSON,
    TEXT,
    SeededReply,
    json_reply,
    refuse,
    text_reply,
)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT),
        ("text/plain", TEXT),
        ("image/png", TEXT),
        ("*/*", HTML),
        ("text/*", HTML),
        ("text/html", HTML),
        ("TEXT/HTML", HTML),
        ("application/json", JSON),
        ("application/json, text/plain;q=0.5", JSON),
        ("application/json;q=0.5, text/html;q=0.4", JSON),
        ("application/json;q=0.4, */*;q=0.5", HTML),
        ("text/html;q=0, */*", JSON),
        ("text/html;q=0", TEXT),
        ("text/html;q=nonsense", HTML),
        ("text/html;q=7", HTML),
        ("text/html;level=1;q=0.1, application/*;q=0.2", JSON),
        (", ,;;", HTML),
    ],
)
def test_form(accept: str, content_type: str) -> None:
    """HTML for whoever takes it, JSON on request, plain text for the rest."""
    assert refuse(reply.NOT_FOUND, accept).content_type == content_type


@pytest.mark.parametrize(
    ("chosen", "content_type"),
    [("text/html", HTML), ("application/json", JSON), ("", TEXT)],
)
def test_accept_as_webob_reads_it(chosen: str, content_type: str) -> None:
    """Qualities, parameters, extensions, quoted texts; what is malformed gets HTML."""
    file = Path(__file__).parents[3] / "fixtures" / "nova" / "webob_accept.json"
    headers = json.loads(file.read_text())["chosen"][chosen]
    assert len(headers) >= 120
    for accept in headers:
        assert content_type == refuse(reply.NOT_FOUND, accept).content_type, accept


def test_a_long_accept_takes_no_time() -> None:
    """Each character is looked at a few times: a header line is at most 16 KiB."""
    for piece in (" ", "\t;", ";a=", 'a/b;c="', ",", "a/", ";q=0."):
        refuse(reply.NOT_FOUND, piece * (16_384 // len(piece)))


@pytest.mark.parametrize(
    "refusal",
    [value for value in vars(reply).values() if isinstance(value, reply.NovaFault)],
    ids=lambda refusal: refusal.reason,
)
@pytest.mark.parametrize("accept", ["", "*/*", "application/json"])
def test_every_refusal_can_be_written(refusal: reply.NovaFault, accept: str) -> None:
    """Each refusal has a title, and its text is in the body in every form."""
    answer = refuse(refusal, accept)
    assert answer.status == refusal.status
    assert refusal.text.encode() in answer.content


def test_bytes_pass_untouched() -> None:
    """Binary content is not decoded, text is UTF-8."""
    assert text_reply(bytes(range(256))).content == bytes(range(256))
    assert text_reply("☃").content == "☃".encode()


def test_json_is_ascii_without_newline() -> None:
    """JSON is written as Nova dumps it."""
    answer = json_reply({"a": "☃"})
    assert answer.content == b'{"a": "\\u2603"}'
    assert json.loads(answer.content) == {"a": "☃"}


def test_entity_tags() -> None:
    """The same for the same document; errors have none."""
    assert text_reply("a").etag == text_reply(b"a").etag != text_reply("b").etag
    assert json_reply("a").etag == text_reply('"a"').etag
    assert "" == refuse(reply.NOT_FOUND, "").etag


def test_a_random_seed_is_no_change() -> None:
    """Its document has a weak tag, which all else that is in it changes."""
    web, db = (
        SeededReply.of(
            {"meta": {"random_seed": "x"}, "name": name, "seed": "HERE"}, "HERE"
        )
        for name in ("web", "db")
    )
    one, two = web.with_seed(b"\x00" * 3), web.with_seed(b"\xff" * 3)
    expected = b'{"meta": {"random_seed": "x"}, "name": "web", "seed": "AAAA"}'
    assert (expected, JSON, 200) == (one.content, one.content_type, one.status)
    assert two.content == expected.replace(b"AAAA", b"////")
    assert one.etag.startswith('W/"')
    assert one.etag == two.etag != db.with_seed(b"\x00" * 3).etag
