"""Upstream replies: every framing, in every cut; every trick is a WireError."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import hot
from vagent.errors import WireError
from vagent.metadata.http import parsed_heads
from vagent.metadata.http.parsed_heads import (
    MAX_HEADS,
    MAX_REMEMBERED_HEAD,
    RequestHeadParser,
    ResponseHeadParser,
)
from vagent.metadata.http.request_head import RequestHead, RequestRefusal
from vagent.metadata.http.response_reader import (
    ResponseHead,
    ResponseReader,
    parse_response_head,
)
from vagent.metadata.http.response_writer import whole_response
from vagent.metadata.limits import MAX_INTERIM_REPLIES, MAX_REPLY_BODY, MAX_REPLY_HEAD

FRAMED = [
    b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
]


def reader(*, head_only: bool = False) -> ResponseReader:
    made = ResponseReader(ResponseHeadParser(bytes).parse)
    made.begin(head_only=head_only)
    return made


@hot
@given(st.sampled_from(FRAMED), st.lists(st.integers(0, 80), max_size=6))
def test_any_cut(data: bytes, cuts: list[int]) -> None:
    """Where the network cuts does not matter."""
    one = reader()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    fed = [one.feed(data[a:b]) for a, b in itertools.pairwise(edges) if a < b]
    assert b"hello" == b"".join(content for content, _ in fed)
    assert [False] * (len(fed) - 1) + [True] == [ended for _, ended in fed]
    assert one.reusable


@pytest.mark.parametrize("data", FRAMED)
def test_bytes_after_the_end_spend_the_connection(data: bytes) -> None:
    """A second reply that nobody asked for is dropped, as when it comes later, and
    never given to the next request.
    """
    one = reader()
    assert (b"hello", True) == one.feed(data + b"HTTP/1.1 200 OK\r\n")
    assert not one.reusable


@pytest.mark.parametrize(
    ("head_only", "line"),
    [(True, b"200 OK"), (False, b"204 No Content"), (False, b"304 Not Modified")],
)
@pytest.mark.parametrize("body", [b"", b"x", b"hello"])
def test_a_response_without_a_body_ends_with_its_head(
    line: bytes, body: bytes, *, head_only: bool
) -> None:
    """Whatever its length says, and whether a body comes with it or later."""
    one = reader()
    one.begin(head_only=head_only)
    data = b"HTTP/1.1 %b\r\nContent-Length: 5\r\n\r\n%b" % (line, body)
    assert (b"", True) == one.feed(data)
    assert (not body) is one.reusable


def test_two_transfer_codings() -> None:
    """Two fields are two codings, though each is known."""
    field = b"Transfer-Encoding: chunked\r\n"
    with pytest.raises(WireError, match="transfer coding"):
        reader().feed(b"HTTP/1.1 200 OK\r\n" + field * 2 + b"\r\n0\r\n\r\n")


def test_close_delimited() -> None:
    """No length: the end of input is the end, and the connection is spent."""
    one = reader()
    assert (b"hel", False) == one.feed(b"HTTP/1.1 200 OK\r\n\r\nhel")
    assert (b"lo", False) == one.feed(b"lo")
    assert one.end_of_input()
    assert not one.reusable


def test_end_of_input_elsewhere_is_no_end() -> None:
    """With a length or chunks, an early end is a failure."""
    for data in FRAMED:
        one = reader()
        one.feed(data[:-1])
        assert not one.end_of_input()
    assert not reader().end_of_input()


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_body(status: int) -> None:
    """They end with their head, whatever it announces."""
    one = reader()
    assert (b"", True) == one.feed(
        b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status
    )
    assert one.reusable


def test_head_has_no_body() -> None:
    """HEAD keeps the announced length and ends with the head."""
    one = reader(head_only=True)
    assert (b"", True) == one.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert one.head is not None
    assert 5 == one.head.length


@pytest.mark.parametrize(
    ("line", "fields", "persistent"),
    [
        (b"HTTP/1.1 200 OK", b"", True),
        (b"HTTP/1.1 200", b"", True),
        (b"HTTP/1.1 200 OK", b"Connection: close\r\n", False),
        (b"HTTP/1.1 200 OK", b"Connection: x, Close\r\n", False),
        (b"HTTP/1.0 200 OK", b"", False),
        (b"HTTP/1.0 200 OK", b"Connection: keep-alive\r\n", True),
    ],
)
def test_persistence(line: bytes, fields: bytes, persistent: bool) -> None:
    """Which connections may be pooled."""
    head = parse_response_head(line + b"\r\nContent-Length: 0\r\n" + fields + b"\r\n")
    assert persistent == head.persistent


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_REPLY_BODY + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunkedX\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nc: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x00\r\n\r\n",
        b"HTTP/1.1 200 O\x07K\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 101 X\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_tricks(head: bytes) -> None:
    """None of these is relayed."""
    with pytest.raises(WireError):
        reader().feed(head)


def test_head_ceiling() -> None:
    """A head without an end is given up at its ceiling, not later."""
    one = reader()
    one.feed(b"HTTP/1.1 200 OK\r\nA: ".ljust(MAX_REPLY_HEAD - 1, b"a"))
    with pytest.raises(WireError):
        one.feed(b"a")


def test_interim_ceiling() -> None:
    """So many 1xx and no more."""
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    reader().feed(interim * MAX_INTERIM_REPLIES)
    with pytest.raises(WireError):
        reader().feed(interim * (MAX_INTERIM_REPLIES + 1))


def test_hop_by_hop_fields_are_left_out() -> None:
    """What belongs to the upstream connection stays there."""
    head = parse_response_head(
        b"HTTP/1.1 200 OK\r\nKeep-Alive: a\r\nProxy-Authenticate: b\r\nTrailer: c\r\n"
        b"Connection: X-Hop\r\nx-hop: d\r\nUpgrade: e\r\nServer: f\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    assert b"Server: f\r\n" == head.fields


def test_nominated_fields_are_left_out_however_they_are_spelt() -> None:
    """Of several Connection fields each counts; what stays, stays in its order."""
    head = parse_response_head(
        b"HTTP/1.1 200 OK\r\nConnection: X-One\r\nConnection: x-two\r\nX-One: a\r\n"
        b"X-Two: b\r\nServer: f\r\nA: b\r\nContent-Length: 0\r\n\r\n"
    )
    assert b"Server: f\r\nA: b\r\n" == head.fields


@pytest.mark.parametrize(
    ("digits", "length"),
    [
        (b"5 \t", 5),
        (b"000000000000005", 5),
        (b"0000000000000005", None),
        (b"%d" % (MAX_REPLY_BODY - 1), MAX_REPLY_BODY - 1),
        (b"%d" % MAX_REPLY_BODY, MAX_REPLY_BODY),
        (b"%d" % (MAX_REPLY_BODY + 1), None),
    ],
)
def test_lengths(digits: bytes, length: int | None) -> None:
    """Up to the ceiling, in at most 15 digits; space behind them is none of it."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % digits
    if length is None:
        with pytest.raises(WireError, match="above"):
            parse_response_head(head)
    else:
        assert length == parse_response_head(head).length


@pytest.mark.parametrize(
    ("surplus", "is_refused"), [(-1, False), (0, False), (1, True)]
)
def test_a_head_that_comes_at_once_has_the_same_ceiling(
    surplus: int, *, is_refused: bool
) -> None:
    """n-1, n, n+1 bytes of head, its end included."""
    start, end = b"HTTP/1.1 200 OK\r\nA: ", b"\r\nContent-Length: 0\r\n\r\n"
    data = start.ljust(MAX_REPLY_HEAD + surplus - len(end), b"a") + end
    if is_refused:
        with pytest.raises(WireError, match="reply head above"):
            reader().feed(data)
    else:
        assert (b"", True) == reader().feed(data)


def test_whether_anything_of_the_reply_has_come() -> None:
    """With the first byte of it, until the next request."""
    one = reader()
    found = [one.started]
    one.feed(b"H")
    found.append(one.started)
    one.begin(head_only=False)
    assert [False, True, False] == [*found, one.started]


def test_a_head_is_parsed_without_what_follows_it() -> None:
    """Or the same head with another body would not be remembered."""
    heads: list[bytes] = []

    def spy(head: bytes) -> ResponseHead:
        heads.append(head)
        return parse_response_head(head)

    one = ResponseReader(spy)
    one.feed(FRAMED[1])
    assert [head + b"\r\n\r\n" for head in FRAMED[1].split(b"\r\n\r\n")[:2]] == heads


FORM = (
    b"HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 15:54:%02d GMT\r\nServer: a\r\n"
    b"Content-Length: 3\r\n\r\n"
)


def test_a_remembered_head_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that differs in its date alone."""
    parsed: list[bytes] = []

    def spy(head: bytes) -> ResponseHead:
        parsed.append(head)
        return parse_response_head(head)

    monkeypatch.setattr(parsed_heads, "parse_response_head", spy)
    heads = ResponseHeadParser(bytes)
    first = heads.parse(FORM % 1)
    assert first is heads.parse(FORM % 1)
    for second in (2, 3):
        head = heads.parse(FORM % second)
        assert b"54:%02d GMT\r\n" % second in head.fields
        assert 3 == head.length
    assert 1 == len(parsed)


@pytest.mark.parametrize(("surplus", "is_kept"), [(-1, True), (0, True), (1, False)])
def test_only_heads_of_a_usual_size_are_remembered(
    surplus: int, *, is_kept: bool
) -> None:
    """n-1, n, n+1 bytes."""
    filler = b"a" * (MAX_REMEMBERED_HEAD + surplus - len(FORM % 1) + 1)
    long = (FORM % 1).replace(b"Server: a", b"Server: " + filler)
    assert MAX_REMEMBERED_HEAD + surplus == len(long)
    heads = ResponseHeadParser(bytes)
    assert is_kept == (heads.parse(long) is heads.parse(long))


def test_replies_that_differ_in_date_are_read_once() -> None:
    """Remembered heads mean the same, each with its own date."""
    heads = ResponseHeadParser(bytes)
    form = (
        b"HTTP/1.1 200 OK\r\nServer: a\r\nDate: Sun, 22 Nov 2026 15:54:%02d GMT\r\n"
        b"Content-Length: 3\r\nConnection: keep-alive\r\n\r\n"
    )
    for second in (1, 2, 1, 3):
        head = heads.parse(form % second)
        date = b"Date: Sun, 22 Nov 2026 15:54:%02d GMT\r\n" % second
        assert b"Server: a\r\n" + date == head.fields
        assert (200, 3, True) == (head.status, head.length, head.persistent)


class Today:
    """A date that is another object when it has changed, as HttpDate's."""

    def __init__(self) -> None:
        self.second = 1

    def line(self) -> bytes:
        return DATES[self.second]


DATES = [b"Date: now %d\r\n" % second for second in range(3)]
UNDATED = b"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 3\r\n\r\n"


@pytest.mark.parametrize("surplus", [0, MAX_REMEMBERED_HEAD])
def test_a_reply_without_date_gets_that_of_now(
    monkeypatch: pytest.MonkeyPatch, surplus: int
) -> None:
    """RFC 9110 §6.6.1. It is read once, and has another date in another second."""
    parsed: list[bytes] = []

    def spy(head: bytes) -> ResponseHead:
        parsed.append(head)
        return parse_response_head(head)

    monkeypatch.setattr(parsed_heads, "parse_response_head", spy)
    today = Today()
    heads = ResponseHeadParser(today.line)
    server = b"Server: a" + b"a" * surplus
    reply = UNDATED.replace(b"Server: a", server)
    first = heads.parse(reply)
    assert server + b"\r\nDate: now 1\r\n" == first.fields
    assert (first is heads.parse(reply)) == (not surplus)
    today.second = 2
    assert server + b"\r\nDate: now 2\r\n" == heads.parse(reply).fields
    assert (3 if surplus else 1) == len(parsed)


@pytest.mark.parametrize("name", [b"Date", b"date", b"DATE"])
def test_a_date_in_another_form_is_left_alone(name: bytes) -> None:
    """However it is written: there is one, and it is the upstream's."""
    heads = ResponseHeadParser(Today().line)
    date = name + b": Sunday, 22-Nov-26 15:54:16 GMT\r\n"
    reply = UNDATED.replace(b"Server: a\r\n", date)
    assert date == heads.parse(reply).fields
    in_a_list = b"Server: a\r\nX-Update: Date: x\r\n"
    reply = UNDATED.replace(b"Server: a\r\n", in_a_list)
    assert in_a_list + b"Date: now 1\r\n" == heads.parse(reply).fields


def test_a_malformed_head_is_never_remembered() -> None:
    """The same broken head is refused each time."""
    heads = ResponseHeadParser(bytes)
    bad = b"HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 15:54:16 GMT\r\nA b\r\n\r\n"
    for _ in range(2):
        with pytest.raises(WireError):
            heads.parse(bad)


def test_remembered_requests_are_bounded_and_equal() -> None:
    """The same head gives the same value; refusals are computed each time."""
    heads = RequestHeadParser()
    form = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
    first = heads.parse(form % 0)
    assert isinstance(first, RequestHead)
    assert first is heads.parse(form % 0)
    for number in range(MAX_HEADS):
        heads.parse(form % (number + 1))
    again = heads.parse(form % 0)
    assert (first, False) == (again, first is again)
    assert isinstance(heads.parse(b"GET / HTTP/1.1\r\n\r\n"), RequestRefusal)


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "204 None", "304 Same"])
@pytest.mark.parametrize("content", [b"hello", b"he", b""])
@pytest.mark.parametrize("head_only", [False, True])
@pytest.mark.parametrize("close", [False, True])
def test_a_head_that_was_rendered_before_changes_no_response(
    framing: str, status: str, content: bytes, head_only: bool, close: bool
) -> None:
    """What is remembered is used where it fits, and equals what rendering gives."""
    lines = f"HTTP/1.1 {status}\r\nDate: Sun, 22 Nov 2026 15:54:16 GMT\r\n{framing}"
    remembered = ResponseHeadParser(bytes).parse(f"{lines}\r\n\r\n".encode())
    unused = replace(remembered)
    whole_response(remembered, b"hello", head_only=False, close=False)
    assert b"" == unused.rendered
    assert whole_response(
        unused, content, head_only=head_only, close=close
    ) == whole_response(remembered, content, head_only=head_only, close=close)


@hot
@given(st.binary(max_size=120))
def test_any_bytes(data: bytes) -> None:
    """Content, patience or WireError; nothing else."""
    with contextlib.suppress(WireError):
        reader().feed(b"HTTP/1.1 200 OK\r\n" + data)


@pytest.mark.parametrize(
    "framing", [b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"]
)
def test_an_endless_body_has_an_end(framing: bytes) -> None:
    """Without a length it goes on to the ceiling, and there the connection is spent."""
    reader = ResponseReader(ResponseHeadParser(bytes).parse)
    reader.feed(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
    size = 1 << 20
    piece = b"x" * size
    if b"chunked" in framing:
        piece = b"%x\r\n%b\r\n" % (size, piece)
    for _ in range(MAX_REPLY_BODY // size):
        assert size == len(reader.feed(piece)[0])
    with pytest.raises(WireError, match="above"):
        reader.feed(piece)


def test_before_its_end_a_connection_is_not_reusable() -> None:
    """Neither at first, nor while the next response is read."""
    one = reader()
    found = [one.reusable]
    one.feed(FRAMED[0])
    found.append(one.reusable)
    one.begin(head_only=False)
    assert [False, True, False] == [*found, one.reusable]


@pytest.mark.parametrize(("surplus", "is_kept"), [(-1, True), (0, True), (1, False)])
def test_only_requests_of_a_usual_size_are_remembered(
    surplus: int, *, is_kept: bool
) -> None:
    """n-1, n, n+1 bytes."""
    start, end = b"GET / HTTP/1.1\r\nHost: a\r\nA: ", b"\r\n\r\n"
    long = start.ljust(MAX_REMEMBERED_HEAD + surplus - len(end), b"a") + end
    heads = RequestHeadParser()
    assert is_kept == (heads.parse(long) is heads.parse(long))


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 5),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 0),
        (b"HTTP/1.1 200 OK\r\n\r\n", -1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", -1),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", -1),
        (b"HTTP/1.1 100 Continue\r\n\r\n", -1),
    ],
)
def test_how_long_a_body_is_by_its_head_alone(head: bytes, length: int) -> None:
    """Where nothing but the head decides it."""
    assert length == parse_response_head(head).body_length
