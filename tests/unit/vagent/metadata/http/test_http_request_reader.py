"""Requests out of bytes: one at a time, however the bytes are cut."""

from __future__ import annotations

import pytest

from vagent.metadata.http import request_reader
from vagent.metadata.http.request_head import (
    RequestHead,
    RequestRefusal,
    parse_request_head,
)
from vagent.metadata.http.request_reader import RequestReader, RequestStage

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
EXPECTS = POST.replace(b"\r\n\r\nabc", b"\r\nExpect: 100-continue\r\n\r\n")
CHUNKED = (
    b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nde\r\n0\r\n\r\n"
)


def reader() -> RequestReader:
    return RequestReader(parse_request_head)


def found_in(one: RequestReader) -> list[tuple[bytes, bytes]]:
    """Path and body of each request that is complete."""
    found = []
    while (request := one.take()) is not None:
        assert not isinstance(request, RequestRefusal)
        found.append((request[0].path, request[1]))
    return found


EXPECTED = [(b"/a", b""), (b"/b", b"abc"), (b"/c", b"de"), (b"/a", b"")]


@pytest.mark.parametrize("size", [1, 2, 7, 50, 1000])
def test_requests_behind_each_other(size: int) -> None:
    """Each is taken with its own body, wherever the network cuts."""
    data = GET + POST + CHUNKED + GET
    one = reader()
    found = []
    for at in range(0, len(data), size):
        one.feed(data[at : at + size])
        found += found_in(one)
    assert EXPECTED == found
    assert 0 == one.size


@pytest.mark.parametrize("lines", [(b"\r\n", b""), (b"\r\n", b"\r\n"), (b"", b"\r\n")])
def test_an_empty_line_before_a_request(lines: tuple[bytes, bytes]) -> None:
    """One is passed over before each request (RFC 9112 §2.2), also behind another."""
    one = reader()
    one.feed(lines[0] + GET + lines[1] + POST + GET)
    assert EXPECTED[:2] + EXPECTED[3:] == found_in(one)


def test_data_can_be_fed_while_taking() -> None:
    """It goes behind what is there already."""
    one = reader()
    one.feed(GET[:9])
    request = one.take(GET[9:] + GET)
    assert request is not None
    assert not isinstance(request, RequestRefusal)
    assert (b"/a", len(GET)) == (request[0].path, one.size)


@pytest.mark.parametrize(
    ("data", "stage", "wants_continue"),
    [
        (b"", RequestStage.NOTHING, False),
        (b"\r\n", RequestStage.NOTHING, False),
        (b"G", RequestStage.HEAD, False),
        (GET[:-1], RequestStage.HEAD, False),
        (GET, RequestStage.NOTHING, False),
        (POST[:-3], RequestStage.BODY, False),
        (POST[:-1], RequestStage.BODY, False),
        (EXPECTS, RequestStage.BODY, True),
        (EXPECTS + b"a", RequestStage.BODY, False),
    ],
)
def test_how_far_the_next_request_is(
    data: bytes, stage: RequestStage, *, wants_continue: bool
) -> None:
    """For the deadline of that part; 100 is wanted while no byte of the body came."""
    one = reader()
    one.feed(data)
    while one.take() is not None:
        pass
    assert stage is one.stage
    assert wants_continue is one.wants_continue


def test_one_empty_line_before_a_request_is_ignored() -> None:
    """RFC 9112 §2.2; a second one is not."""
    one = reader()
    one.feed(b"\r\n" + GET)
    assert [(b"/a", b"")] == found_in(one)
    one.feed(b"\r\n\r\n" + GET)
    assert isinstance(one.take(), RequestRefusal)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (POST.replace(b"3", b"99999"), 413),
        (CHUNKED.replace(b"2\r\n", b"x\r\n"), 400),
    ],
)
def test_refusals(data: bytes, status: int) -> None:
    """Of a head, of its beginning, of a body."""
    one = reader()
    one.feed(data)
    refusal = one.take()
    assert isinstance(refusal, RequestRefusal)
    assert status == refusal.status


def test_what_is_discarded_is_gone() -> None:
    """After a refusal nothing of it is read."""
    one = reader()
    one.feed(GET)
    one.discard()
    assert (None, 0) == (one.take(), one.size)


def test_an_idle_connection_keeps_no_request() -> None:
    """A head may hold a session token, and idle connections are many."""
    one = reader()
    for data in (GET, b"\r\n" + GET, GET + GET, POST, CHUNKED):
        one.feed(data)
        assert found_in(one)
        assert b"" == one._buffer


def test_heads_are_read_by_the_parser_that_is_given() -> None:
    """So that recent ones can be remembered."""
    parsed: list[bytes] = []

    def parse(head: bytes) -> RequestHead | RequestRefusal:
        parsed.append(head)
        return parse_request_head(head)

    one = RequestReader(parse)
    one.feed(GET + POST)
    assert [(b"/a", b""), (b"/b", b"abc")] == found_in(one)
    assert [GET, POST[:-3]] == parsed


def test_a_head_of_nothing_is_refused() -> None:
    """It is not waited for: it is whole."""
    one = reader()
    one.feed(b"\r\n" * 3)
    assert isinstance(one.take(), RequestRefusal)


def test_a_head_that_comes_byte_by_byte_is_searched_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or 16 KiB in single bytes would cost the square of that."""
    looked: list[tuple[int, int]] = []

    def refuse_partial(head: bytes, scanned: int) -> None:
        looked.append((len(head), scanned))

    monkeypatch.setattr(request_reader, "refuse_partial", refuse_partial)
    one = reader()
    for at in range(len(GET) - 1):
        assert one.take(GET[at : at + 1]) is None
    assert [(n + 1, n) for n in range(len(GET) - 1)] == looked
    found = one.take(GET[-1:])
    assert isinstance(found, tuple)
    assert b"/a" == found[0].path
    assert one.take(GET[:1]) is None
    assert (1, 0) == looked[-1]
