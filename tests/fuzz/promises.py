"""What holds for any bytes at the pure parsers; AssertionError where it does not.

One function for each parser. The fuzzer looks for input that breaks one, a unit test
replays the corpus, and properties in `tests/unit` feed what hypothesis makes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.fuzz.kernel_promises import conntrack, netlink, packet
from vagent.errors import WireError
from vagent.metadata.events import Caller
from vagent.metadata.http.chunked import Chunked
from vagent.metadata.http.headers import FORWARDED, HOP_BY_HOP
from vagent.metadata.http.parsed_heads import RequestHeadParser, ResponseHeadParser
from vagent.metadata.http.path import canonical, split_target
from vagent.metadata.http.request_head import (
    METHODS,
    RequestHead,
    RequestRefusal,
    parse_request_head,
)
from vagent.metadata.http.request_reader import RequestReader
from vagent.metadata.http.response_reader import (
    ResponseHead,
    ResponseReader,
    parse_response_head,
)
from vagent.metadata.http.response_writer import LAST_CHUNK, chunk, whole_response
from vagent.metadata.http.session_fields import session_fields
from vagent.metadata.imds_v2.token import TokenVerdict, mint_token, verify_token
from vagent.metadata.limits import MAX_REQUEST_BODY
from vagent.metadata.upstream.forwarded_request import ForwardedRequest

BLOCK = (
    b"X-Forwarded-For: 10.0.0.3\r\n"
    b"X-Instance-ID: 1a2b3c00-0000-4000-8000-000000000003\r\n"
    b"X-Tenant-ID: 7e000000000040008000000000000001\r\n"
    b"X-Instance-ID-Signature: 00\r\n"
)
OURS = ("x-forwarded-for", "x-instance-id", "x-tenant-id", "x-instance-id-signature")
PROXIES = {"x-forwarded-for", "forwarded", "via"}
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
KEY = b"k" * 32


def lines_of(head: bytes) -> list[tuple[str, bytes]]:
    """Names (lower case, `_` as `-`) and values of a head; every line must be a field.

    A second reading of the head, which shares nothing with llhttp.
    """
    assert head.endswith(b"\r\n\r\n")
    fields = []
    for line in head[:-4].split(b"\r\n")[1:]:
        field = _LINE.fullmatch(line)
        assert field is not None, line
        name = field[1].decode("ascii").lower().replace("_", "-")
        fields.append((name, field[2].strip(b" \t")))
    return fields


# Requests


def requests(data: bytes) -> None:
    """What a guest may send: read whole and byte by byte it is the same, and what is
    accepted is well-formed, means one thing only, and goes upstream as itself.
    """
    whole = _read(data, len(data) or 1)
    assert whole == _read(data, 1)
    for found in whole:
        if not isinstance(found, RequestRefusal):
            _accepted(*found)
    _head(data.partition(b"\r\n\r\n"))


def _read(data: bytes, size: int) -> list[tuple[RequestHead, bytes] | RequestRefusal]:
    reader = RequestReader(RequestHeadParser().parse)
    found: list[tuple[RequestHead, bytes] | RequestRefusal] = []
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
        while (one := reader.take()) is not None:
            if isinstance(one, RequestRefusal):
                assert 400 <= one.status < 600
                assert one.reason.isprintable()
                # Which rule is broken first depends on how much is there.
                return [*found, RequestRefusal(0, "")]
            found.append(one)
    return found


def _accepted(request: RequestHead, body: bytes) -> None:
    assert request.method in METHODS
    assert len(body) <= MAX_REQUEST_BODY
    path, _, _ = request.target.partition(b"?")
    assert path == request.path == canonical(path)
    _canonical(path)
    assert request.target.decode("ascii").isprintable()
    tokenless = replace(request.session, token=b"")
    assert repr(request) == repr(replace(request, session=tokenless)), "a token shows"
    _upstream(request, body)


def _upstream(request: RequestHead, body: bytes) -> None:
    """The upstream reads what was meant, with our four headers exactly once."""
    nobody: Any = None
    forwarded = ForwardedRequest(
        nobody,
        nobody,
        request,
        body,
        request_id=1,
        caller=Caller("", "", ""),
        identity_headers=BLOCK,
    )
    message = forwarded.message(b"nova:8775")
    head, _, rest = message.partition(b"\r\n\r\n")
    head += b"\r\n\r\n"
    names = [name for name, _ in lines_of(head)]
    assert all(names.count(name) == 1 for name in (*OURS, "host"))
    allowed = {*OURS, "host", "content-length", *(n.decode() for n in FORWARDED)}
    assert allowed >= set(names)
    assert len(set(names)) == len(names)
    again = parse_request_head(head)
    assert isinstance(again, RequestHead), again
    assert (request.method, request.target) == (again.method, again.target)
    if request.forwards_body:
        assert (len(body), body) == (again.body_length, rest)
    else:
        assert (0, b"") == (again.body_length, rest)


def _head(parts: tuple[bytes, bytes, bytes]) -> None:
    """A head that is accepted alone has none of what makes two readers disagree."""
    head = parts[0] + parts[1]
    if not parts[1]:
        return
    request = parse_request_head(head)
    if isinstance(request, RequestRefusal):
        return
    fields = lines_of(head)
    names = [name for name, _ in fields]
    plain = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    assert plain.count(b"host") == 1 or (plain.count(b"host") == 0 == request.minor)
    assert not (b"transfer-encoding" in plain and b"content-length" in plain)
    assert plain.count(b"content-length") <= 1
    assert not (b"transfer-encoding" in plain and request.minor == 0)
    assert request.session.is_forwarded == (not PROXIES.isdisjoint(names))
    assert len(names) <= 100


# Paths


def path(data: bytes) -> None:
    """A target that is accepted is canonical after one step, and hides nothing."""
    try:
        before, query = split_target(data)
        after = canonical(before)
    except WireError:
        return
    assert after == canonical(after)
    assert not query or query.startswith(b"?")
    _canonical(after)
    assert split_target(after + query) == (after, query)


def _canonical(path: bytes) -> None:
    assert path.startswith(b"/")
    assert path.isascii()
    assert path.decode().isprintable()
    assert not {b".", b".."} & set(path.split(b"/"))
    assert b"//" not in path
    assert not re.search(rb"%(2f|5c|00)|[\\#? ]", path, re.IGNORECASE)
    assert re.fullmatch(rb"(?:[^%]|%[0-9A-F]{2})*", path)
    unneeded = re.findall(rb"%([0-9A-F]{2})", path)
    assert not any(
        re.match(rb"[A-Za-z0-9._~-]", bytes.fromhex(h.decode())) for h in unneeded
    )


# Replies


def reply(data: bytes) -> None:
    """What an upstream may send, in answer to GET and HEAD."""
    for head_only in (False, True):
        whole = _answer(data, len(data) or 1, head_only=head_only)
        assert whole == _answer(data, 1, head_only=head_only)
        if whole is not None and whole[2]:
            _relayed(whole[0], whole[1], head_only=head_only)


def _answer(
    data: bytes, size: int, *, head_only: bool
) -> tuple[ResponseHead | None, bytes, bool, bool] | None:
    """Head, content, whether complete and whether reusable; None: refused."""
    reader = ResponseReader(ResponseHeadParser(bytes).parse)
    reader.begin(head_only=head_only)
    content = b""
    for at in range(0, len(data), size):
        try:
            piece, ended = reader.feed(data[at : at + size])
        except WireError:
            return None
        content += piece
        if ended:
            # What follows the end is dropped, and ends the connection.
            is_all = at + size >= len(data)
            return reader.head, content, True, reader.reusable and is_all
    return reader.head, content, reader.end_of_input(), False


def _relayed(head: ResponseHead | None, content: bytes, *, head_only: bool) -> None:
    """What the guest gets is one reply, and says where it ends."""
    assert head is not None
    assert 200 <= head.status <= 999
    if head_only:
        assert b"" == content
    for close in (False, True):
        told = whole_response(head, content, head_only=head_only, close=close)
        front, _, rest = told.partition(b"\r\n\r\n")
        names = [name for name, _ in lines_of(front + b"\r\n\r\n")]
        assert rest == content
        assert names.count("content-length") <= 1
        assert not ({n.decode() for n in HOP_BY_HOP} - {"connection"}) & set(names)
        assert close == ("connection" in names)
        again = parse_response_head(front + b"\r\n\r\n")
        assert (head.status, False) == (again.status, again.chunked)
        bodiless = head_only or head.status in (204, 304)
        assert bodiless or len(content) == again.length


# The chunked coding


def chunked(data: bytes) -> None:
    """Whole and byte by byte decode to the same, which encoded again is the same."""
    whole, pieces = _decode(data, len(data) or 1), _decode(data, 1)
    assert whole == pieces
    if whole is None or whole[1] is None:
        return
    content = whole[0]
    again = (chunk(content) if content else b"") + LAST_CHUNK
    assert (content, b"") == _decode(again, len(again))


def _decode(data: bytes, size: int) -> tuple[bytes, bytes | None] | None:
    """Content and what follows it (None: not at its end); None: refused."""
    coding = Chunked()
    content = b""
    for at in range(0, len(data), size):
        try:
            content += coding.feed(data[at : at + size])
        except WireError:
            return None
        if coding.rest is not None:
            return content, coding.rest + data[at + size :]
    return content, None


# Sessions


def session(data: bytes) -> None:
    """No bytes are a token unless we made it for this holder; fields are as sent."""
    token, _, rest = data.partition(b"\n")
    verdict = verify_token(token, key_of=lambda _: KEY, holder=b"a", now=0.0)
    assert verdict is not TokenVerdict.VALID
    holder = b"b" + rest
    real = mint_token(KEY, 1, nonce=bytes(10), expires=100, holder=holder)
    valid = verify_token(real, key_of=lambda _: KEY, holder=holder, now=99.0)
    assert valid is TokenVerdict.VALID
    late = verify_token(real, key_of=lambda _: KEY, holder=holder, now=100.0)
    assert late is TokenVerdict.EXPIRED
    if token:
        at = token[0] % len(real)
        spoiled = real[:at] + bytes((real[at] ^ (token[-1] or 1),)) + real[at + 1 :]
        assert TokenVerdict.VALID is not verify_token(
            spoiled, key_of=lambda _: KEY, holder=holder, now=0.0
        )
    named = list(
        zip(data.lower().split(b":")[::2], data.split(b":")[1::2], strict=False)
    )
    try:
        fields = session_fields(named)
    except WireError:
        assert len(named) > 1, "one field cannot contradict itself"
        return
    values = [value.strip(b" \t") for _, value in named]
    assert fields.token is None or fields.token in values
    assert fields.ttl in (b"", *values)
    assert repr(fields) == repr(replace(fields, token=b"")), "a token shows"


PROMISES: dict[str, Callable[[bytes], None]] = {
    "requests": requests,
    "path": path,
    "reply": reply,
    "chunked": chunked,
    "session": session,
    "packet": packet,
    "netlink": netlink,
    "conntrack": conntrack,
}
