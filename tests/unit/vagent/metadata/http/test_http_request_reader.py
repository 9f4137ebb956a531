"""Whole requests out of what arrives, however it is cut."""

from __future__ import annotations

import itertools

import pytest

from vagent.metadata.http.request_head import RequestRefusal, parse_request_head
from vagent.metadata.http.request_reader import RequestReader, RequestStage

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
WAITING = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")


@pytest.fixture
def reader() -> RequestReader:
    return RequestReader(parse_request_head)


def take(reader: RequestReader) -> tuple[bytes, bytes] | None:
    """Method and body of the next request."""
    found = reader.take()
    assert not isinstance(found, RequestRefusal)
    return None if found is None else (found[0].method, found[1])


def test_requests_one_after_another(reader: RequestReader) -> None:
    """What follows one is kept for the next."""
    reader.feed(POST + b"abcd" + GET + b"GE")
    assert (b"POST", b"abcd") == take(reader)
    assert (b"GET", b"") == take(reader)
    assert take(reader) is None
    assert (2, RequestStage.HEAD) == (reader.size, reader.stage)


@pytest.mark.parametrize("cut", range(1, len(POST) + 4))
def test_any_cut(reader: RequestReader, cut: int) -> None:
    """The body too is whole in the end, and nothing but what was sent."""
    data = POST + b"abcd"
    reader.feed(data[:cut])
    assert take(reader) is None
    reader.feed(data[cut:])
    assert (b"POST", b"abcd") == take(reader)
    assert (0, RequestStage.NOTHING) == (reader.size, reader.stage)


def test_a_body_in_single_bytes(reader: RequestReader) -> None:
    """Nothing is added between them."""
    reader.feed(POST)
    for byte in b"abc":
        assert take(reader) is None
        assert RequestStage.BODY is reader.stage
        reader.feed(bytes([byte]))
    assert take(reader) is None
    reader.feed(b"dGET")
    assert (b"POST", b"abcd") == take(reader)
    assert 3 == reader.size


def test_one_empty_line_before_a_request(reader: RequestReader) -> None:
    """As RFC 9112, 2.2 asks for; alone it is no part of a head, a second is."""
    reader.feed(b"\r\n")
    assert take(reader) is None
    assert RequestStage.NOTHING is reader.stage
    reader.feed(GET)
    assert (b"GET", b"") == take(reader)
    reader.feed(b"\r\n" * 2 + GET)
    assert isinstance(reader.take(), RequestRefusal)


def test_what_is_discarded_is_gone(reader: RequestReader) -> None:
    """No byte of it is left."""
    reader.feed(GET[:-2])
    reader.discard()
    assert 0 == reader.size
    reader.feed(GET)
    assert (b"GET", b"") == take(reader)


def test_when_the_guest_waits_for_100(reader: RequestReader) -> None:
    """After the head of such a request, until the first byte of its body."""
    for data, wants in itertools.chain(
        [(POST, False), (b"abcd", False)],
        [(WAITING[:-2], False), (WAITING[-2:], True), (b"a", False), (b"bcd", False)],
    ):
        reader.feed(data)
        take(reader)
        assert wants == reader.wants_continue


def test_a_head_that_is_refused(reader: RequestReader) -> None:
    """As soon as it cannot become one."""
    reader.feed(b"GET / HTTP/1.1\n")
    assert RequestRefusal(400, "bare line feed") == reader.take()
    assert RequestStage.HEAD is reader.stage
