"""Request heads: what is accepted means one thing, the rest is refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.examples import hot
from vagent.metadata.http.request_head import (
    RequestHead,
    RequestRefusal,
    parse_request_head,
    refuse_partial,
)
from vagent.metadata.limits import (
    MAX_REQUEST_BODY,
    MAX_REQUEST_HEAD,
    MAX_REQUEST_HEADERS,
    MAX_REQUEST_LINE,
)

HOST = b"Host: 169.254.169.254\r\n"


def head(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = HOST) -> bytes:
    return line + b"\r\n" + host + b"".join(f + b"\r\n" for f in fields) + b"\r\n"


def accepted(data: bytes) -> RequestHead:
    request = parse_request_head(data)
    assert isinstance(request, RequestHead), request
    return request


def refused(data: bytes) -> int:
    refusal = parse_request_head(data)
    assert isinstance(refusal, RequestRefusal), refusal
    return refusal.status


def test_a_plain_request() -> None:
    """What curl sends becomes these values."""
    data = head(b"User-Agent: curl/8", b"Accept: */*", line=b"GET /a/b?c=d HTTP/1.1")
    assert RequestHead(
        method=b"GET",
        path=b"/a/b",
        target=b"/a/b?c=d",
        minor=1,
        body_length=0,
        keep_alive=True,
        expects_continue=False,
        forwarded=b"User-Agent: curl/8\r\nAccept: */*\r\n",
        is_repeatable=True,
        forwards_body=False,
        key=b"/a/b?c=d\r\nUser-Agent: curl/8\r\nAccept: */*\r\n",
        is_plain=True,
        is_safe=True,
    ) == accepted(data)


@pytest.mark.parametrize(
    "data",
    [
        head(host=b""),
        head(host=HOST + HOST),
        head(host=b"Host: a\r\nhost: b\r\n"),
        head(host=b"Host: \r\n"),
        head(host=b"Host: a b\r\n"),
        head(host=b"Host: a/b\r\n"),
        head(host=b"Host: user@a\r\n"),
        head(host=b"Host: a:port\r\n"),
        head(b"A: b", b" folded"),
        head(b"A: b\x01"),
        head(b"A: b\x7f"),
        head(b"A: b\rc"),
        head(b"A: b\nc: d"),
        head(b"A : b"),
        head(b": b"),
        head(b"no colon"),
        head(b"A\x00: b"),
        head(line=b"GET  / HTTP/1.1"),
        head(line=b"GET / HTTP/1.1 "),
        head(line=b" GET / HTTP/1.1"),
        head(line=b"GET /"),
        head(line=b"GET / RTSP/1.0"),
        head(line=b"GET /a b HTTP/1.1"),
        head(line=b"GET /\t HTTP/1.1"),
        head(line=b"GET foo HTTP/1.1"),
        head(line=b"GET host:80 HTTP/1.1"),
        head(line=b"GET /#f HTTP/1.1"),
        head(line=b"GET /%2f HTTP/1.1"),
        head(line=b"GET /%00 HTTP/1.1"),
        head(b"Content-Length: 1", b"Content-Length: 1"),
        head(b"Content-Length: 1, 1"),
        head(b"Content-Length: +1"),
        head(b"Content-Length: -1"),
        head(b"Content-Length: 0x1"),
        head(b"Content-Length: "),
        head(b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        head(b"Transfer-Encoding: chunked", b"Content-Length: 1"),
        head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        head(b"Transfer-Encoding: chunked, identity"),
        head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"),
    ],
)
def test_malformed_heads_are_400(data: bytes) -> None:
    """Each of these is read in two ways by somebody."""
    assert 400 == refused(data)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(line=b"OPTIONS / HTTP/1.1"), 501),
        (head(line=b"OPTIONS * HTTP/1.1"), 501),
        (head(line=b"TRACE / HTTP/1.1"), 501),
        (head(line=b"CONNECT a:1 HTTP/1.1"), 501),
        (head(line=b"PATCH / HTTP/1.1"), 501),
        (head(line=b"get / HTTP/1.1"), 501),
        (head(line=b"GET / HTTP/1.2"), 505),
        (head(line=b"GET / HTTP/2.0"), 505),
        (head(line=b"PRI * HTTP/2.0"), 505),
        (head(b"Transfer-Encoding: gzip, chunked", line=b"POST / HTTP/1.1"), 501),
        (head(b"Expect: 200-ok"), 417),
        (head(b"Content-Length: 99999999999"), 413),
    ],
)
def test_refusals_with_their_own_status(data: bytes, status: int) -> None:
    """Methods, versions, codings and expectations that we do not serve."""
    assert status == refused(data)


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"169.254.169.254:80",
        b"[fe80::a9fe:a9fe]",
        b"[fe80::a9fe:a9fe%25eth0]:80",
        b"a_b.c",
    ],
)
def test_valid_hosts(host: bytes) -> None:
    """Names, addresses, ports, and the zone that cloud-init sends."""
    accepted(head(host=b"Host: " + host + b"\r\n"))


def test_http_1_0_needs_no_host_and_always_closes() -> None:
    """A 1.0 client gets its answer and the end of the connection."""
    request = accepted(
        head(b"Connection: keep-alive", line=b"GET / HTTP/1.0", host=b"")
    )
    assert not request.keep_alive


@pytest.mark.parametrize(
    ("value", "keeps"), [(b"close", False), (b"Keep-Alive", True), (b"a, CLOSE", False)]
)
def test_connection_options(value: bytes, keeps: bool) -> None:
    """`close` counts wherever it stands in the list."""
    assert keeps == accepted(head(b"Connection: " + value)).keep_alive


def test_identity_never_comes_from_the_guest() -> None:
    """Only the allow-list is forwarded, in our spelling; nominated fields are not."""
    request = accepted(
        head(
            b"X-Instance-ID: f",
            b"x_instance_id: f",
            b"X-Forwarded-For: f",
            b"X-Metadata-Provider: f",
            b"User_Agent: f",
            b"Authorization: f",
            b"ACCEPT: a",
            b"accept: b ",
            b"user-agent: first",
            b"User-Agent: second",
            b"Content-Type: t",
            b"Connection: content-type",
        )
    )
    assert b"Accept: a, b\r\nUser-Agent: first\r\n" == request.forwarded


@pytest.mark.parametrize(
    ("line", "repeatable"),
    [
        (b"GET / HTTP/1.1", True),
        (b"HEAD / HTTP/1.1", True),
        (b"POST / HTTP/1.1", False),
        (b"PUT / HTTP/1.1", False),
        (b"DELETE / HTTP/1.1", False),
        (b"GET /openstack/latest/vendor_data2.json HTTP/1.1", False),
        (b"GET /openstack/latest/%76endor%5fdata2.json/ HTTP/1.1", False),
        (b"GET /openstack/latest/vendor_data.json HTTP/1.1", True),
    ],
)
def test_what_may_be_sent_twice(line: bytes, repeatable: bool) -> None:
    """Reads may, except of the document that resets a password."""
    assert repeatable == accepted(head(line=line)).is_repeatable


def test_upgrade_is_ignored() -> None:
    """`curl --http2` is answered as plain HTTP/1.1."""
    accepted(head(b"Connection: Upgrade", b"Upgrade: h2c"))


@pytest.mark.parametrize(("length", "status"), [(-1, 0), (0, 0), (1, 413)])
def test_body_ceiling(length: int, status: int) -> None:
    """At the ceiling is fine, above is 413 before a byte of it is read."""
    data = head(b"Content-Length: %d" % (MAX_REQUEST_BODY + length))
    result = parse_request_head(data)
    assert status == (result.status if isinstance(result, RequestRefusal) else 0)


@pytest.mark.parametrize(("surplus", "status"), [(-1, 0), (0, 0), (1, 414)])
def test_request_line_ceiling(surplus: int, status: int) -> None:
    """8 KiB of request line, no more."""
    room = MAX_REQUEST_LINE + surplus - len(b"GET / HTTP/1.1")
    result = parse_request_head(head(line=b"GET /" + b"a" * room + b" HTTP/1.1"))
    assert status == (result.status if isinstance(result, RequestRefusal) else 0)


@pytest.mark.parametrize(("surplus", "status"), [(-1, 0), (0, 0), (1, 431)])
def test_header_count_ceiling(surplus: int, status: int) -> None:
    """100 fields, Host included."""
    fields = [b"A: b"] * (MAX_REQUEST_HEADERS - 1 + surplus)
    result = parse_request_head(head(*fields))
    assert status == (result.status if isinstance(result, RequestRefusal) else 0)


@pytest.mark.parametrize(("surplus", "status"), [(-1, 0), (0, 0), (1, 431)])
def test_head_ceiling(surplus: int, status: int) -> None:
    """16 KiB of head, no more."""
    room = MAX_REQUEST_HEAD + surplus - len(head(b"A: "))
    result = parse_request_head(head(b"A: " + b"b" * room))
    assert status == (result.status if isinstance(result, RequestRefusal) else 0)


LONG_LINE = RequestRefusal(414, "request line too long")
LONG_HEAD = RequestRefusal(431, "head too long")
BARE = RequestRefusal(400, "bare line feed")


@pytest.mark.parametrize(
    ("partial", "refusal"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n", None),
        (b"GET / HTTP/1.1\r", None),
        (b"GET / HTTP/1.1\nHost: a\n\n", BARE),
        (b"\n", BARE),
        (b"a" * MAX_REQUEST_LINE, None),
        (b"a" * (MAX_REQUEST_LINE + 1), LONG_LINE),
        (b"a" * MAX_REQUEST_LINE + b"\r\n", None),
        (b"a" * (MAX_REQUEST_LINE + 1) + b"\r\n", LONG_LINE),
        (b"a\r\n" + b"b" * MAX_REQUEST_LINE + b"\r\n", None),
        (b"\r\n" + b"b" * MAX_REQUEST_LINE, None),
        (b"a\r\n" + b"b" * (MAX_REQUEST_HEAD - 3), None),
        (b"a\r\n" + b"b" * (MAX_REQUEST_HEAD - 2), LONG_HEAD),
    ],
)
def test_hopeless_beginnings(partial: bytes, refusal: RequestRefusal | None) -> None:
    """A head that cannot become valid is not waited for."""
    assert refusal == refuse_partial(partial)


@hot
@given(st.binary(max_size=200))
@example(b"GET / HTTP/1.1\r\nHost: a")
def test_any_bytes_are_a_request_or_a_refusal(data: bytes) -> None:
    """No input raises, and what is accepted is safe to put in an upstream request."""
    result = parse_request_head(data.replace(b"\r\n\r\n", b"") + b"\r\n\r\n")
    if isinstance(result, RequestHead):
        assert result.target.startswith(b"/")
        assert result.target.decode("ascii").isprintable()
        assert b" " not in result.target


FIELD = st.tuples(
    st.sampled_from(
        [b"X-Instance-ID", b"Accept", b"Host", b"Content-Length", b"A_b", b"TE"]
    ),
    st.binary(max_size=20),
)


@hot
@given(st.lists(FIELD, max_size=6))
def test_forwarded_fields_cannot_break_out(fields: list[tuple[bytes, bytes]]) -> None:
    """Whatever the values, the forwarded block holds allowed names on clean lines."""
    data = b"GET / HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % f for f in fields) + b"\r\n"
    result = parse_request_head(data)
    if isinstance(result, RequestHead):
        lines = result.forwarded.split(b"\r\n")
        assert b"" == lines.pop()
        assert all(line.startswith(b"Accept: ") for line in lines)
        assert not any(byte < 32 and byte != 9 for line in lines for byte in line)


TOO_LONG = RequestRefusal(413, "body too long")
UNKNOWN_CODING = RequestRefusal(501, "transfer coding")
NOT_ALLOWED = RequestRefusal(400, "Transfer-Encoding where it is not allowed")


@pytest.mark.parametrize(
    ("fields", "minor", "length"),
    [
        (b"A: b", 1, 0),
        (b"Content-Length: 5", 1, 5),
        (b"Content-Length: 0000000005", 1, 5),
        (b"Content-Length: 00000000005", 1, TOO_LONG),
        (b"Transfer-Encoding: Chunked", 1, None),
        (b"Transfer-Encoding: gzip, chunked", 1, UNKNOWN_CODING),
        (b"Transfer-Encoding: chunked", 0, NOT_ALLOWED),
    ],
)
def test_how_long_a_body_is(
    fields: bytes, minor: int, length: int | RequestRefusal | None
) -> None:
    """None: chunked; or why it is refused, in these words."""
    found = parse_request_head(head(fields, line=b"POST / HTTP/1.%d" % minor))
    assert length == (found.body_length if isinstance(found, RequestHead) else found)


@pytest.mark.parametrize(
    ("second", "is_refused"), [(b"text/plain", False), (b"text/html", True)]
)
def test_two_content_types(second: bytes, *, is_refused: bool) -> None:
    """Which of them an upstream would believe, nobody knows."""
    found = parse_request_head(
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n"
        b"content-type:  %b\r\n\r\n" % second
    )
    refusal = RequestRefusal(400, "Content-Types that differ")
    assert is_refused is (found == refusal)


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (head(line=b"GET /" + b"a" * MAX_REQUEST_LINE), LONG_LINE),
        (head(b"A: " + b"b" * MAX_REQUEST_HEAD), LONG_HEAD),
        (
            head(*[b"A: b"] * MAX_REQUEST_HEADERS),
            RequestRefusal(431, "too many headers"),
        ),
        (head(line=b"GET /"), RequestRefusal(400, "malformed request line")),
        (head(line=b"GET / HTTP/1.2"), RequestRefusal(505, "HTTP version")),
        (head(line=b"PATCH / HTTP/1.1"), RequestRefusal(501, "method", b"PATCH")),
        (head(b"Expect: 200-ok"), RequestRefusal(417, "expectation")),
        (head(host=b""), RequestRefusal(400, "no Host")),
    ],
)
def test_why_a_head_is_refused(data: bytes, refusal: RequestRefusal) -> None:
    """In words of ours, of a closed set; an unknown method is named."""
    assert refusal == parse_request_head(data)


def test_only_white_space_around_a_value_is_left_out() -> None:
    """Letters at its ends are its own."""
    request = accepted(head(b"Accept: \t XmlX \t"))
    assert b"Accept: XmlX\r\n" == request.forwarded


def test_for_the_last_time() -> None:
    """The response says that the connection closes, and takes no shorter way that
    would not say so.
    """
    request = accepted(head())
    last = request.for_the_last_time()
    assert (True, True) == (request.keep_alive, request.is_plain)
    assert (False, False) == (last.keep_alive, last.is_plain)
