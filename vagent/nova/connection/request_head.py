"""Reads the head of a request to the metadata server: bytes → value or refusal. Pure.

Its clients are proxies that hold a client certificate, not guests, so the target and
the method are taken as they come, as Nova's WSGI servers take them. What could make two
readers of one connection see different requests (RFC 9112 §11.2) is refused: a line
that is no field, a bare CR or LF, folded lines, two lengths, other codings than
chunked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vagent.nova.request import NovaRequest

MAX_HEADERS = 64
"""Header fields of a request. A proxy sends about ten; gunicorn takes 100."""
MAX_HEAD = 16 * 1024
"""Bytes of a whole head. A proxy sends some 400."""
MAX_BODY = 65_536
"""Bytes of a request body. Only a password (1,020 bytes) is used; as in Nova, other
bodies are ignored, so a POST to another document gets that document."""

_LINE = re.compile(rb"([^\s\x00-\x20]+) +([^\s\x00-\x20]+) +HTTP/1\.([0-9]) *")
_FIELD = re.compile(
    rb"^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\x00]*)\r\n", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class ParsedHead:
    """A head. `length` is that of the body, None for a chunked one."""

    request: NovaRequest
    length: int | None
    keep_alive: bool
    expects_continue: bool


def parse_head(head: bytes) -> ParsedHead | int:
    """A whole head, its empty line included; or the status with which it is refused."""
    line_end = head.find(b"\r\n")
    line = _LINE.fullmatch(head, 0, line_end)
    if line is None:
        return 400
    fields = _FIELD.findall(head, line_end + 2)
    lines = head.count(b"\r\n") - 2
    if len(fields) != lines or head.count(b"\n") != lines + 2:
        return 400
    if lines > MAX_HEADERS:
        return 431
    headers: dict[str, bytes] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.lower().decode("ascii"), raw_value.rstrip(b" \t")
        headers[name] = headers[name] + b"," + value if name in headers else value
    length = _length(headers)
    if isinstance(length, _Refused):
        return length.status
    is_current = line[3] != b"0"  # RFC 9110 §2.5: a higher minor version is as ours
    options = headers.get("connection", b"").lower()
    return ParsedHead(
        NovaRequest(line[1].decode("latin-1"), line[2], headers),
        length,
        is_current and b"close" not in options,
        is_current and headers.get("expect", b"").lower() == b"100-continue",
    )


@dataclass(frozen=True, slots=True)
class _Refused:
    status: int


def _length(headers: dict[str, bytes]) -> int | _Refused | None:
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        is_chunked = coding.lower() == b"chunked" and length is None
        return None if is_chunked else _Refused(400)
    if length is None:
        return 0
    if not length.isdigit() or len(length) > 18:
        return _Refused(400)
    return int(length)
