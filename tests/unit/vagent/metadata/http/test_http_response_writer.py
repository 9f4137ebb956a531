"""Responses as bytes: the agent's own, and the heads of relayed ones."""

from __future__ import annotations

import pytest

from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.http.response_writer import (
    local_response,
    relayed_head,
    status_line,
    token_response,
)


def test_local_responses() -> None:
    """Empty, with a length; 503 asks to come back."""
    busy = b"HTTP/1.1 503 Service Unavailable\r\n"
    tail = b"Content-Length: 0\r\nRetry-After: 1\r\n\r\n"
    assert busy + tail == local_response(503, close=False)
    assert (
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        == (local_response(400, close=True))
    )
    assert b"HTTP/1.1 299 Unknown\r\n" == status_line(299)


@pytest.mark.parametrize(
    ("length", "chunked", "framing"),
    [
        (5, False, b"Content-Length: 5\r\n"),
        (None, True, b"Transfer-Encoding: chunked\r\n"),
        (None, False, b""),
    ],
)
def test_relayed_heads(length: int | None, chunked: bool, framing: bytes) -> None:
    """One framing, or none where the end is the end of the connection."""
    head = ResponseHead(200, b"Server: a\r\n", None, chunked=False, persistent=True)
    assert b"HTTP/1.1 200 OK\r\nServer: a\r\n" + framing + b"\r\n" == relayed_head(
        head, length=length, chunked=chunked, close=False
    )


@pytest.mark.parametrize(
    ("close", "closing"), [(False, b""), (True, b"Connection: close\r\n")]
)
def test_a_token(closing: bytes, *, close: bool) -> None:
    """Its life is told in the spelling of the request, and nobody may cache it."""
    assert (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\n"
        b"X-metadata-token-ttl-seconds: 60\r\nContent-Length: 2\r\n"
        + closing
        + b"\r\nab"
    ) == token_response(b"ab", 60, b"X-metadata-token", close=close)
