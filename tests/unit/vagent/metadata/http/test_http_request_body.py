"""Request bodies are collected up to their ceiling."""

from __future__ import annotations

import pytest

from vagent.metadata.http.request_body import RequestBody
from vagent.metadata.http.request_head import RequestRefusal
from vagent.metadata.limits import MAX_CHUNK_OVERHEAD, MAX_REQUEST_BODY


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
    assert RequestRefusal(400, "malformed chunk size line") == refusal


@pytest.mark.parametrize(("surplus", "status"), [(-1, 0), (0, 0), (1, 413)])
def test_chunked_ceiling(surplus: int, status: int) -> None:
    """The ceiling counts content, however it is framed."""
    size = MAX_REQUEST_BODY + surplus
    refusal = RequestBody(None).feed(b"%x\r\n" % size + b"a" * size)
    assert status == (refusal.status if refusal else 0)


def test_tiny_chunks_do_not_buy_time() -> None:
    """One-byte chunks reach a ceiling of their own."""
    refusal = RequestBody(None).feed(b"1\r\na\r\n" * (MAX_CHUNK_OVERHEAD // 5 + 1))
    assert RequestRefusal(413, "too many small chunks") == refusal


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize(
    ("surplus", "is_refused"), [(-1, False), (0, False), (1, True)]
)
def test_the_coding_s_own_bytes_have_a_ceiling(
    pieces: int, surplus: int, *, is_refused: bool
) -> None:
    """n-1, n, n+1 bytes that are no content, however they are cut."""
    size = MAX_CHUNK_OVERHEAD + surplus
    count = size // 7 - 1
    coded = b"1;x\r\na\r\n" * count
    coded += b"1;" + b"x" * (size - 7 * count - 6) + b"\r\na\r\n"
    assert size == len(coded) - coded.count(b"a")
    body = RequestBody(None)
    step = len(coded) // pieces + 1
    refusals = [body.feed(coded[n : n + step]) for n in range(0, len(coded), step)]
    expected = RequestRefusal(413, "too many small chunks") if is_refused else None
    assert [None] * (pieces - 1) + [expected] == refusals


def test_what_follows_a_chunked_body_is_none_of_it() -> None:
    """Requests behind it do not count towards its ceilings."""
    body = RequestBody(None)
    behind = b"x" * (3 * MAX_REQUEST_BODY)
    assert body.feed(b"0\r\n\r\n" + behind) is None
    assert (b"", behind) == (body.content, body.rest)


def test_many_pieces() -> None:
    """Each counts, of either framing."""
    known, chunked = RequestBody(4), RequestBody(None)
    for letter in (b"a", b"b", b"c"):
        assert known.feed(letter) is None
        assert chunked.feed(b"1\r\n%b\r\n" % letter) is None
    assert known.feed(b"dGET") is None
    assert (b"abcd", b"GET") == (known.content, known.rest)
    assert b"abc" == chunked.content
    half = MAX_REQUEST_BODY // 2
    assert chunked.feed(b"%x\r\n" % half + b"a" * half + b"\r\n") is None
    refusal = chunked.feed(b"%x\r\n" % half + b"a" * half + b"\r\n")
    assert RequestRefusal(413, "body too long") == refusal


def test_a_body_of_no_bytes() -> None:
    """It is complete, and what is there follows it."""
    body = RequestBody(0)
    assert body.feed(b"GET") is None
    assert (b"", b"GET") == (body.content, body.rest)
