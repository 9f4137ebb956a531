"""Responses to guests as bytes: the agent's own, and those relayed from the upstream.

The agent's own errors have empty bodies: boot scripts repeat a request until the body
is not empty, and would take an error page for the document that they wait for.
"""

from __future__ import annotations

from http import HTTPStatus

from vagent.metadata.http.headers import BODILESS
from vagent.metadata.http.response_reader import ResponseHead

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii")
    for status in HTTPStatus
}


_COME_BACK = b"Retry-After: 1\r\n"
_LOCAL_FIELDS = {
    401: b'WWW-Authenticate: X-aws-ec2-metadata-token realm="metadata"\r\n',
    429: _COME_BACK,
    503: _COME_BACK,
}


def status_line(status: int) -> bytes:
    """The line for a status; the phrase is ours, never the upstream's text."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status


def local_response(
    status: int, *, close: bool, date: bytes, text: bytes = b""
) -> bytes:
    """A complete response of the agent's own; `text` is its body, a line for people,
    `date` the line with its date.

    503 and 429 ask the guest to come back in a second; 401 says that a session token is
    missing (RFC 9110 §11.6.1).
    """
    more = _LOCAL_FIELDS.get(status, b"")
    closing = b"Connection: close\r\n" if close else b""
    kind = b"Content-Type: text/plain\r\n" if text else b""
    return b"%b%bContent-Length: %d\r\n%b%b%b\r\n%b" % (
        *(status_line(status), date, len(text), kind, more, closing, text),
    )


def token_response(
    token: bytes, ttl: int, family: bytes, *, close: bool, date: bytes
) -> bytes:
    """A complete response with a session token, as EC2's IMDSv2 gives it.

    `ttl` is the token's life in seconds; its header begins with `family`, the spelling
    that the request used. `date` is the line with its date.
    """
    return (
        b"%b%bContent-Type: text/plain\r\nCache-Control: no-store\r\n"
        b"%b-ttl-seconds: %d\r\nContent-Length: %d\r\n%b\r\n%b"
        % (
            *(status_line(200), date, family, ttl, len(token)),
            *(b"Connection: close\r\n" if close else b"", token),
        )
    )


def relayed_head(
    head: ResponseHead, *, length: int | None, chunked: bool, close: bool
) -> bytes:
    """The head of a relayed response, with the framing that the guest gets.

    With `length` None and not `chunked`, the body ends where the connection does.
    """
    if length is not None:
        framing = b"Content-Length: %d\r\n" % length
    else:
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
    closing = b"Connection: close\r\n" if close else b""
    line = _STATUS_LINES.get(head.status) or status_line(head.status)
    return b"%b%b%b%b\r\n" % (line, head.fields, framing, closing)


def whole_response(
    head: ResponseHead, content: bytes, *, head_only: bool, close: bool
) -> bytes:
    """A complete response of the upstream in one piece."""
    is_usual = len(content) == head.length and not (head_only or close)
    if is_usual and head.rendered:
        return head.rendered + content
    length: int | None = len(content)
    if head.status == 204:
        length = None
    elif head_only or head.status == 304:
        length = head.length
    rendered = relayed_head(head, length=length, chunked=False, close=close)
    if is_usual and head.status not in BODILESS:
        head.rendered = rendered
    return rendered + content


def chunk(content: bytes) -> bytes:
    """One piece of a chunked body; empty content must not be sent as one."""
    return b"%x\r\n%b\r\n" % (len(content), content)
