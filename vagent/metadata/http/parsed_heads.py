"""Parses heads, and remembers recent ones: two caches of pure functions.

Guests of one image send the same few heads byte for byte, and an upstream's heads
differ in little but their date, so most heads are parsed only once. The result depends
on nothing but the bytes; who sent them is looked up elsewhere, for each request.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TypeVar

from vagent.metadata.http.request_head import (
    RequestHead,
    RequestRefusal,
    parse_request_head,
)
from vagent.metadata.http.response_reader import ResponseHead, parse_response_head

MAX_HEADS = 512
"""cloud-init asks for some 30 documents; this is room for many images and clients."""

MAX_REMEMBERED_HEAD = 1024
"""Bytes. Real heads are below 400; with MAX_HEADS this bounds each cache to a MiB."""

_Head = TypeVar("_Head")
_DATE = re.compile(rb"\r\n(Date: [A-Z][a-z]{2}, [0-9A-Za-z :]{20} GMT\r\n)")


class RequestHeadParser:
    """Parses heads of guests' requests."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, RequestHead] = {}

    def parse(self, head: bytes) -> RequestHead | RequestRefusal:
        """As `parse_request_head`. Refusals, long heads and tokens are not kept."""
        known = self._known.get(head)
        if known is not None:
            return known
        request = parse_request_head(head)
        if (
            isinstance(request, RequestHead)
            and len(head) <= MAX_REMEMBERED_HEAD
            and request.session.token is None
        ):
            _keep(self._known, head, request)
        return request


class ResponseHeadParser:
    """Parses heads of upstreams' responses.

    Heads that differ only in a well-formed `Date` are parsed once.
    """

    __slots__ = ("_dateless", "_known")

    def __init__(self) -> None:
        self._known: dict[bytes, ResponseHead] = {}
        self._dateless: dict[bytes, ResponseHead] = {}

    def parse(self, head: bytes) -> ResponseHead:
        """As `parse_response_head`, but `Date` may become the last field."""
        known = self._known.get(head)
        if known is not None:
            return known
        date = _DATE.search(head)
        if date is None or len(head) > MAX_REMEMBERED_HEAD:
            return parse_response_head(head)
        dateless = head[: date.start(1)] + head[date.end(1) :]
        parsed = self._dateless.get(dateless)
        if parsed is None:
            parsed = parse_response_head(dateless)
            _keep(self._dateless, dateless, parsed)
        dated = replace(parsed, fields=parsed.fields + date[1])
        _keep(self._known, head, dated)
        return dated


def _keep(known: dict[bytes, _Head], head: bytes, value: _Head) -> None:
    """Remember; where there are MAX_HEADS already, in the place of the oldest."""
    if len(known) >= MAX_HEADS:
        del known[next(iter(known))]
    known[head] = value
