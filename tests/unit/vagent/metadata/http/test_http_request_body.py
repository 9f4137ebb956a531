"""Request bodies are collected up to their ceiling."""

from __future__ import annotations

import pytest

from vagent.metadata.http.request_body import RequestBody
from vagent.metadata.limits import MAX_REQUEST_BODY


def test_known_length_in_pieces_with_a_tail() -> None:
    """Complete with its last byte; the next request is left alone."""
    body = RequestBody(5)
    assert body.feed(b"abc") is None
    assert (b"abc", None) == (body.content, body.rest)
    assert body.feed(b"deGET") is None
    assert (b"abcde", b"GET") == (body.content, body.rest)


def test_chunked() -> None:
    """Decoded; trailers are gone."""
    body = RequestBody(None)
    assert body.feed(b"3\r\nabc\r\n0\r\nX: y\r\n\r\nGET") is None
    assert (b"abc", b"GET") == (body.content, body.rest)


def test_broken_chunks_are_400() -> None:
    """The coding's error becomes a refusal."""
    refusal = RequestBody(None).feed(b"zz\r\n")
    assert refusal is not None
    assert 400 == refusal.status


@pytest.mark.parametrize(("surplus", "status"), [(-1, 0), (0, 0), (1, 413)])
def test_chunked_ceiling(surplus: int, status: int) -> None:
    """The ceiling counts content, however it is framed."""
    size = MAX_REQUEST_BODY + surplus
    refusal = RequestBody(None).feed(b"%x\r\n" % size + b"a" * size)
    assert status == (refusal.status if refusal else 0)


def test_tiny_chunks_do_not_buy_time() -> None:
    """One-byte chunks reach a ceiling of their own."""
    refusal = RequestBody(None).feed(b"1\r\na\r\n" * 22000)
    assert refusal is not None
    assert 413 == refusal.status
