"""Replies as the guest gets them: every byte of their heads."""

from __future__ import annotations

import pytest

from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.http.response_writer import (
    chunk,
    local_response,
    relayed_head,
    status_line,
    token_response,
    whole_response,
)

DATE = b"Date: d\r\n"


def head(status: int = 200, length: int | None = 5) -> ResponseHead:
    """A reply of the upstream's."""
    return ResponseHead(status, b"A: b\r\n", length, chunked=False, persistent=True)


@pytest.mark.parametrize(
    ("status", "close", "text", "response"),
    [
        (
            404,
            False,
            b"",
            b"HTTP/1.1 404 Not Found\r\nDate: d\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            *(503, True, b""),
            b"HTTP/1.1 503 Service Unavailable\r\nDate: d\r\nContent-Length: 0\r\n"
            b"Retry-After: 1\r\nConnection: close\r\n\r\n",
        ),
        (
            *(429, False, b"slow down"),
            b"HTTP/1.1 429 Too Many Requests\r\nDate: d\r\nContent-Length: 9\r\n"
            b"Content-Type: text/plain\r\nRetry-After: 1\r\n\r\nslow down",
        ),
    ],
)
def test_replies_of_our_own(
    status: int, *, close: bool, text: bytes, response: bytes
) -> None:
    """Without a body unless there is something to say."""
    assert response == local_response(status, close=close, date=DATE, text=text)


def test_a_status_that_nobody_knows() -> None:
    """Its phrase is ours all the same."""
    assert b"HTTP/1.1 599 Unknown\r\n" == status_line(599)


@pytest.mark.parametrize(
    ("length", "chunked", "close", "framing"),
    [
        (5, False, False, b"Content-Length: 5\r\n"),
        (0, False, True, b"Content-Length: 0\r\nConnection: close\r\n"),
        (None, True, False, b"Transfer-Encoding: chunked\r\n"),
        (None, False, True, b"Connection: close\r\n"),
    ],
)
def test_a_relayed_head(
    length: int | None, *, chunked: bool, close: bool, framing: bytes
) -> None:
    """The status line is ours, the fields are the upstream's, the framing is ours."""
    relayed = relayed_head(head(404), length=length, chunked=chunked, close=close)
    assert b"HTTP/1.1 404 Not Found\r\nA: b\r\n%b\r\n" % framing == relayed


@pytest.mark.parametrize(
    ("status", "length", "close", "is_kept"),
    [
        (200, 5, False, True),
        (404, 5, False, True),
        (200, 6, False, False),
        (200, None, False, False),
        (200, 5, True, False),
        (204, 5, False, False),
        (304, 5, False, False),
    ],
)
def test_a_usual_head_is_rendered_once(
    status: int, length: int | None, *, close: bool, is_kept: bool
) -> None:
    """Where a body of the announced length follows and the connection stays open; it is
    used for no other response.
    """
    one = head(status, length)
    first = whole_response(one, b"hello", head_only=False, close=close)
    assert (first.removesuffix(b"hello") if is_kept else b"") == one.rendered
    for content, head_only in ((b"hello", False), (b"", True), (b"he", False)):
        fresh = whole_response(
            head(status, length), content, head_only=head_only, close=close
        )
        assert fresh == whole_response(one, content, head_only=head_only, close=close)


@pytest.mark.parametrize(
    ("status", "length", "content", "head_only", "framing"),
    [
        (200, None, b"hello", False, b"Content-Length: 5\r\n"),
        (205, None, b"", False, b"Content-Length: 0\r\n"),
        (204, 7, b"", False, b""),
        (204, 7, b"", True, b""),
        (304, 7, b"", False, b"Content-Length: 7\r\n"),
        (200, 7, b"", True, b"Content-Length: 7\r\n"),
        (200, None, b"", True, b""),
    ],
)
def test_a_whole_response(
    status: int, length: int | None, content: bytes, *, head_only: bool, framing: bytes
) -> None:
    """Its length is that of the body, or what was announced where none follows; 204 has
    none (RFC 9110, 8.6), and neither has what nobody announced.
    """
    found = whole_response(
        head(status, length), content, head_only=head_only, close=False
    )
    line = status_line(status)
    assert b"%bA: b\r\n%b\r\n%b" % (line, framing, content) == found


def test_a_chunk() -> None:
    """Its size in hexadecimal digits, and its content."""
    assert b"1a\r\nabcdefghijklmnopqrstuvwxyz\r\n" == chunk(
        b"abcdefghijklmnopqrstuvwxyz"
    )


@pytest.mark.parametrize(
    ("close", "closing"), [(False, b""), (True, b"Connection: close\r\n")]
)
def test_a_token(closing: bytes, *, close: bool) -> None:
    """Its life is told in the spelling of the request, and nobody may cache it."""
    assert (
        b"HTTP/1.1 200 OK\r\nDate: d\r\n"
        b"Content-Type: text/plain\r\nCache-Control: no-store\r\n"
        b"X-metadata-token-ttl-seconds: 60\r\nContent-Length: 2\r\n"
        + closing
        + b"\r\nab"
    ) == token_response(b"ab", 60, b"X-metadata-token", close=close, date=DATE)
