"""Parses the head of a guest's request: bytes → value or refusal. Pure.

llhttp (httptools) checks the grammar of the field lines. What it lets through, as
measured with httptools 0.9, is refused here: two spaces in the request line, HTTP/0.9,
RTSP and HTTP/2.0 versions, fragments, missing, doubled or invalid Host, `chunked` on
HTTP/1.0, codings other than `chunked`. `request_body` reads bodies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import httptools

from vagent.errors import WireError
from vagent.metadata.http.awaited_change import AwaitedChange, awaited_change
from vagent.metadata.http.cache_key import key_of
from vagent.metadata.http.headers import FORWARDED, is_host, tokens
from vagent.metadata.http.path import parse_target
from vagent.metadata.http.session_fields import (
    NO_SESSION,
    SessionFields,
    session_fields,
)
from vagent.metadata.limits import (
    MAX_REQUEST_BODY,
    MAX_REQUEST_HEAD,
    MAX_REQUEST_HEADERS,
    MAX_REQUEST_LINE,
)

METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE"))
"""The five that Contrail forwards; another method is answered 501."""

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) (\S+) HTTP/([0-9])\.([0-9])")
_BARE_LF = re.compile(rb"(?:^|[^\r])\n")
_LISTS = frozenset((b"accept", b"connection", b"expect"))
_WITH_BODY = frozenset((b"POST", b"PUT"))
SAFE = frozenset((b"GET", b"HEAD"))


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of a request that may be forwarded.

    `path` is canonical, `target` path and query as the upstream gets them.
    `body_length` is None for a chunked body. `forwarded` are the lines of the guest's
    fields that are passed on. `forwards_body`: only with POST and PUT, as in Contrail.
    `is_repeatable`: it may be sent upstream twice; not so vendor_data2.json, where a
    second GET resets a novajoin password. `is_safe`: it changes nothing (RFC 9110
    §9.2.1). `is_plain`: a GET after which the connection stays open. `key` finds a
    cached response (`cache_key`); b"" for a request that must go upstream. `awaits`: a
    GET that shall be answered when the document changes.
    """

    method: bytes
    path: bytes
    target: bytes
    minor: int
    body_length: int | None
    keep_alive: bool
    expects_continue: bool
    forwarded: bytes
    is_repeatable: bool
    forwards_body: bool
    key: bytes
    is_plain: bool
    is_safe: bool
    session: SessionFields = NO_SESSION
    awaits: AwaitedChange | None = None

    def for_the_last_time(self) -> RequestHead:
        """The same, with a response after which the connection closes."""
        return replace(self, keep_alive=False, is_plain=False)


@dataclass(frozen=True, slots=True)
class RequestRefusal:
    """Why a request is refused: the status for the guest, the reason for traces.

    `reason` never holds the guest's text. `method` is set where it is the reason.
    """

    status: int
    reason: str
    method: bytes = b""


def refuse_partial(head: bytes, scanned: int = 0) -> RequestRefusal | None:
    """Is this beginning of a head already hopeless? Called while its end is missing.

    The first `scanned` bytes were found good before, so a head that comes byte by byte
    is not searched from its start each time.
    """
    longest = MAX_REQUEST_LINE + len(b"\r\n")
    if len(head) > MAX_REQUEST_LINE and head.find(b"\r\n", 0, longest) < 0:
        return RequestRefusal(414, "request line too long")
    if len(head) > MAX_REQUEST_HEAD:
        return RequestRefusal(431, "head too long")
    if _BARE_LF.search(head, max(scanned - 1, 0)):
        return RequestRefusal(400, "bare line feed")
    return None


def parse_request_head(head: bytes) -> RequestHead | RequestRefusal:
    """Parse a whole head, its empty line included.

    Checked in this order: sizes, request line, version, method, fields, target, Host,
    framing. The first rule that is broken gives the status.
    """
    line_end = head.find(b"\r\n")
    if line_end > MAX_REQUEST_LINE:
        return RequestRefusal(414, "request line too long")
    if len(head) > MAX_REQUEST_HEAD:
        return RequestRefusal(431, "head too long")
    if head.count(b"\n") - 2 > MAX_REQUEST_HEADERS:
        return RequestRefusal(431, "too many headers")
    line = _LINE.fullmatch(head, 0, line_end)
    if line is None:
        return RequestRefusal(400, "malformed request line")
    method, target, major, minor = line.groups()
    if major != b"1" or minor not in b"01":
        return RequestRefusal(505, "HTTP version")
    if method not in METHODS:
        return RequestRefusal(501, "method", method)
    try:
        fields = _fields(head)
        path, query = parse_target(target)
        return _request(method, path, query, int(minor), fields)
    except WireError as error:
        return RequestRefusal(400, str(error))


class _Fields:
    """Receives llhttp's call-backs."""

    __slots__ = ("on_header", "pairs")

    def __init__(self) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []
        pairs = self.pairs
        self.on_header = lambda name, value: pairs.append((name.lower(), value))


def _fields(head: bytes) -> list[tuple[bytes, bytes]]:
    fields = _Fields()
    try:
        httptools.HttpRequestParser(fields).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # RFC 9110 §7.8: not upgrading means answering as plain HTTP/1.1
    except httptools.HttpParserError as error:
        raise WireError(f"malformed head: {error}") from error
    return fields.pairs


def _request(
    method: bytes,
    path: bytes,
    query: bytes,
    minor: int,
    fields: list[tuple[bytes, bytes]],
) -> RequestHead | RequestRefusal:
    named: dict[bytes, bytes] = {}
    for name, raw in fields:
        value = raw.strip(b" \t")
        if name not in named:
            named[name] = value
        elif name == b"host":
            raise WireError("more than one Host")
        elif name == b"content-type" and value != named[name]:
            raise WireError("Content-Types that differ")
        elif name in _LISTS:
            named[name] += b", " + value
    _check_host(named.get(b"host"), minor)
    length = _body_length(named, minor)
    if isinstance(length, RequestRefusal):
        return length
    expects = minor == 1 and b"expect" in named
    if expects and named[b"expect"].lower() != b"100-continue":
        return RequestRefusal(417, "expectation")
    options = tokens(named.get(b"connection", b""))
    keep_alive = minor == 1 and b"close" not in options
    forwarded = b"".join(
        b"%b: %b\r\n" % (FORWARDED[name], value)
        for name, value in named.items()
        if name in FORWARDED and name not in options
    )
    is_repeatable = method in SAFE and b"vendor_data2" not in path
    return RequestHead(
        method=method,
        path=path,
        target=path + query,
        minor=minor,
        body_length=length,
        keep_alive=keep_alive,
        expects_continue=expects,
        is_repeatable=is_repeatable,
        forwards_body=method in _WITH_BODY,
        forwarded=forwarded,
        key=key_of(method, path, path + query, forwarded),
        is_plain=method == b"GET" and keep_alive,
        is_safe=method in SAFE,
        session=session_fields(fields),
        awaits=(awaited_change(query) if is_repeatable and method == b"GET" else None),
    )


def _check_host(host: bytes | None, minor: int) -> None:
    if host is None:
        if minor == 1:
            raise WireError("no Host")
    elif not is_host(host):
        raise WireError("invalid Host")


def _body_length(named: dict[bytes, bytes], minor: int) -> int | RequestRefusal | None:
    coding = named.get(b"transfer-encoding")
    length = named.get(b"content-length")
    if coding is not None:
        if minor == 0 or length is not None:
            return RequestRefusal(400, "Transfer-Encoding where it is not allowed")
        if coding.lower() != b"chunked":
            return RequestRefusal(501, "transfer coding")
        return None
    if length is None:
        return 0
    if len(length) > 10 or not length.isdigit() or int(length) > MAX_REQUEST_BODY:
        return RequestRefusal(413, "body too long")
    return int(length)
