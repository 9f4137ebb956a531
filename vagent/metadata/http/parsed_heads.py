"""Remembers how recent heads were read: two caches of pure functions.

Guests of one image send the same few heads byte for byte, and an upstream's replies
differ in little but their date, so most heads are read once for all. What a head says
depends on nothing but its bytes; who sent it is looked up elsewhere, each time.
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
from vagent.metadata.http.response_writer import front_of

MAX_HEADS = 512
"""cloud-init asks for some 30 documents; this is room for many images and clients."""

MAX_REMEMBERED_HEAD = 1024
"""Real heads are below 400 bytes; with MAX_HEADS this bounds each cache to a MiB."""

_Head = TypeVar("_Head")
_DATE = re.compile(rb"\r\n(Date: [A-Z][a-z]{2}, [0-9A-Za-z :]{20} GMT\r\n)")


class RequestHeadParser:
    """Reads guests' heads, and the same head only once while it is remembered."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, RequestHead] = {}

    def parse(self, head: bytes) -> RequestHead | RequestRefusal:
        """As `parse_request_head`; refusals, long heads and tokens are not kept."""
        known = self._known.get(head)
        if known is not None:
            return known
        request = parse_request_head(head)
        if (
            isinstance(request, RequestHead)
            and len(head) <= MAX_REMEMBERED_HEAD
            and not request.session.token
        ):
            _keep(self._known, head, request)
        return request


class ResponseHeadParser:
    """Reads upstreams' heads; two that differ only in a well-formed date are one."""

    __slots__ = ("_dateless", "_known")

    def __init__(self) -> None:
        self._known: dict[bytes, ResponseHead] = {}
        self._dateless: dict[bytes, ResponseHead] = {}

    def parse(self, head: bytes) -> ResponseHead:
        """As `parse_response_head`, but Date may move to the end. Raises WireError."""
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
        reply = replace(parsed, fields=parsed.fields + date[1])
        reply = replace(reply, front=front_of(reply))
        _keep(self._known, head, reply)
        return reply


def _keep(known: dict[bytes, _Head], head: bytes, value: _Head) -> None:
    """Remember, in the place of the oldest if it is full."""
    if len(known) >= MAX_HEADS:
        del known[next(iter(known))]
    known[head] = value
