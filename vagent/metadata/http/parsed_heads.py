"""Parses heads, and remembers recent ones: two caches of pure functions.

Guests of one image send the same few heads byte for byte, and an upstream's heads
differ in little but their date, so most heads are parsed only once. The result depends
on nothing but the bytes; who sent them is looked up elsewhere, for each request.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TypeVar

from vagent.metadata.http.date import DateLine
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

_ANY_DATE = re.compile(rb"^date:", re.IGNORECASE | re.MULTILINE)


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

    Heads that differ only in a well-formed `Date` are parsed once. A head without one
    gets the date of now (`date`), as RFC 9110 §6.6.1 wants of whoever forwards or keeps
    it, and is parsed once, too.
    """

    __slots__ = ("_date", "_dateless", "_known", "_today", "_undated")

    def __init__(self, date: DateLine) -> None:
        self._date = date
        self._known: dict[bytes, ResponseHead] = {}
        self._dateless: dict[bytes, ResponseHead] = {}
        self._undated: dict[bytes, ResponseHead] = {}
        self._today = b""

    def parse(self, head: bytes) -> ResponseHead:
        """As `parse_response_head`, but `Date` may become the last field."""
        known = self._known.get(head)
        if known is not None:
            return known
        today = self._date()
        if today is not self._today:
            self._today = today
            self._undated.clear()
        known = self._undated.get(head)
        if known is not None:
            return known
        date = _DATE.search(head)
        if date is None:
            return self._with_date(head, today)
        if len(head) > MAX_REMEMBERED_HEAD:
            return parse_response_head(head)
        parsed = self._parse_once(head[: date.start(1)] + head[date.end(1) :])
        dated = replace(parsed, fields=parsed.fields + date[1])
        _keep(self._known, head, dated)
        return dated

    def _with_date(self, head: bytes, today: bytes) -> ResponseHead:
        """With this date, unless it has one that is written in another way."""
        fits = len(head) <= MAX_REMEMBERED_HEAD
        parsed = self._parse_once(head) if fits else parse_response_head(head)
        dated = parsed
        if not _ANY_DATE.search(parsed.fields):
            dated = replace(parsed, fields=parsed.fields + today)
        if fits:
            _keep(self._undated, head, dated)
        return dated

    def _parse_once(self, head: bytes) -> ResponseHead:
        parsed = self._dateless.get(head)
        if parsed is None:
            parsed = parse_response_head(head)
            _keep(self._dateless, head, parsed)
        return parsed


def _keep(known: dict[bytes, _Head], head: bytes, value: _Head) -> None:
    """Remember; where there are MAX_HEADS already, in the place of the oldest."""
    if len(known) >= MAX_HEADS:
        del known[next(iter(known))]
    known[head] = value
