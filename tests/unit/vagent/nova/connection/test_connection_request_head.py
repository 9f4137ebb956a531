"""Heads of requests to the metadata server: what is read, and what is refused."""

from __future__ import annotations

import pytest

from vagent.nova.connection.request_head import MAX_HEADERS, ParsedHead, parse_head
from vagent.nova.request import NovaRequest


def parsed(fields: bytes, line: bytes = b"GET /a HTTP/1.1") -> ParsedHead | int:
    return parse_head(line + b"\r\n" + fields + b"\r\n")


def test_a_head() -> None:
    """Names in lower case, values without blanks, repeated ones joined by a comma."""
    found = parsed(b"Host: a\r\nX-A:1\r\nx-a: \t2 3 \t\r\nEmpty:\r\nB: \xff\r\n")
    headers = {"host": b"a", "x-a": b"1,2 3", "empty": b"", "b": b"\xff"}
    assert found == ParsedHead(
        NovaRequest("GET", b"/a", headers),
        length=0,
        keep_alive=True,
        expects_continue=False,
    )


@pytest.mark.parametrize(
    ("line", "method", "target"),
    [
        (b"FOO http://a/b?c#d HTTP/1.1", "FOO", b"http://a/b?c#d"),
        (b"get \xff%00 HTTP/1.0", "get", b"\xff%00"),
        (b"OPTIONS * HTTP/1.1", "OPTIONS", b"*"),
    ],
)
def test_method_and_target_as_they_come(
    line: bytes, method: str, target: bytes
) -> None:
    """Nova's own servers look at neither."""
    found = parsed(b"", line)
    assert isinstance(found, ParsedHead)
    assert (method, target) == (found.request.method, found.request.target)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET /a",
        b"GET /a HTTP/2.0",
        b"GET /a HTTP/1.10",
        b"GET /a b HTTP/1.1",
        b"GET /\x01 HTTP/1.1",
        b" GET /a HTTP/1.1",
        b"GET /a HTTP/1.1\n",
    ],
)
def test_a_malformed_line(line: bytes) -> None:
    """400, as gunicorn says."""
    assert 400 == parsed(b"", line)


@pytest.mark.parametrize(
    "fields",
    [
        b"no colon\r\n",
        b"A : 1\r\n",
        b": 1\r\n",
        b"A: 1\r\n folded\r\n",
        b"A: 1\nB: 2\r\n",
        b"junk\nB: 2\r\n",
        b"A: 1\rB: 2\r\n",
        b"A: \x00\r\n",
        b"A\xff: 1\r\n",
        b"Content-Length: 1\r\nContent-Length: 1\r\n",
        b"Content-Length: +1\r\n",
        b"Content-Length: \r\n",
        b"Content-Length: " + b"1" * 19 + b"\r\n",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
    ],
)
def test_what_two_readers_could_take_differently(fields: bytes) -> None:
    """Is refused, so that no request hides in another one."""
    assert 400 == parsed(fields)


def test_a_ceiling_of_fields() -> None:
    """As many as allowed pass; one more does not."""
    fields = [b"X-%d: y\r\n" % number for number in range(MAX_HEADERS + 1)]
    assert isinstance(parsed(b"".join(fields[1:])), ParsedHead)
    assert 431 == parsed(b"".join(fields))


@pytest.mark.parametrize(
    ("version", "fields", "keep_alive", "expects"),
    [
        (b"1", b"", True, False),
        (b"1", b"Connection: Close\r\nExpect: 100-Continue\r\n", False, True),
        (b"1", b"Connection: keep-alive\r\nExpect: other\r\n", True, False),
        (b"2", b"Expect: 100-continue\r\n", True, True),
        (b"0", b"Connection: keep-alive\r\nExpect: 100-continue\r\n", False, False),
    ],
)
def test_the_connection(
    version: bytes, fields: bytes, *, keep_alive: bool, expects: bool
) -> None:
    """HTTP/1.1 stays open unless it is told to close; HTTP/1.0 closes."""
    found = parsed(fields, b"GET / HTTP/1." + version)
    assert isinstance(found, ParsedHead)
    assert (keep_alive, expects) == (found.keep_alive, found.expects_continue)


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        (b"Content-Length: 0\r\n", 0),
        (b"Content-Length: 007\r\n", 7),
        (b"Transfer-Encoding: Chunked\r\n", None),
    ],
)
def test_the_length(fields: bytes, length: int | None) -> None:
    """Of a body, None for the chunked coding."""
    found = parsed(fields)
    assert isinstance(found, ParsedHead)
    assert length == found.length
