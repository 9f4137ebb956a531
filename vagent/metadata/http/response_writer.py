"""Reply heads for guests: our own short answers, and those relayed from the upstream.

Error bodies are empty: boot scripts loop "until the body is not empty" and would take
an error page for the document they wait for.
"""

from __future__ import annotations

from http import HTTPStatus

from vagent.metadata.http.response_reader import ResponseHead

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii")
    for status in HTTPStatus
}


def status_line(status: int) -> bytes:
    """The line for a status; the phrase is ours, never the upstream's text."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status


def local_response(status: int, *, close: bool, text: bytes = b"") -> bytes:
    """A complete reply of our own; 503 and 429 ask to come back in a second.

    `text` is one short line for people.
    """
    retry = b"Retry-After: 1\r\n" if status in (429, 503) else b""
    closing = b"Connection: close\r\n" if close else b""
    kind = b"Content-Type: text/plain\r\n" if text else b""
    return b"%bContent-Length: %d\r\n%b%b%b\r\n%b" % (
        *(status_line(status), len(text), kind, retry, closing, text),
    )


def relayed_head(
    head: ResponseHead, *, length: int | None, chunked: bool, close: bool
) -> bytes:
    """The head of a relayed reply; `length` None and not chunked: ends by closing."""
    if length is not None:
        framing = b"Content-Length: %d\r\n" % length
    else:
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
    closing = b"Connection: close\r\n" if close else b""
    line = _STATUS_LINES.get(head.status) or status_line(head.status)
    return b"%b%b%b%b\r\n" % (line, head.fields, framing, closing)


def front_of(head: ResponseHead) -> bytes:
    """The relayed head of the usual reply: to a GET, with a body of the announced
    length, on a connection that stays open. Empty where there is no such reply.
    """
    if head.length is None or head.status in (204, 304):
        return b""
    return relayed_head(head, length=head.length, chunked=False, close=False)


def whole_response(
    head: ResponseHead, content: bytes, *, head_only: bool, close: bool
) -> bytes:
    """A complete reply that is relayed in one piece."""
    if head.front and len(content) == head.length and not (head_only or close):
        return head.front + content
    length: int | None = len(content)
    if head_only or head.status == 304:
        length = head.length
    elif head.status == 204:
        length = None
    return relayed_head(head, length=length, chunked=False, close=close) + content


def chunk(content: bytes) -> bytes:
    """One piece of a chunked body; empty content must not be sent as one."""
    return b"%x\r\n%b\r\n" % (len(content), content)


LAST_CHUNK = b"0\r\n\r\n"
