"""What a guest asks for that waits for a change, and entity tags of responses."""

from __future__ import annotations

import pytest

from vagent.metadata.http.awaited_change import (
    LONGEST_SECONDS,
    AwaitedChange,
    awaited_change,
    etag_of,
)

LONGEST = AwaitedChange(None, LONGEST_SECONDS)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (b"", None),
        (b"?wait_for_change=false", None),
        (b"?wait_for_change", None),
        (b"?last_etag=wait_for_change", None),
        (b"?wait_for_change=true", LONGEST),
        (b"?alt=json&wait_for_change=True&recursive=true", LONGEST),
        (b"?wait_for_change=true&last_etag=0", AwaitedChange(b"0", 3600.0)),
        (b"?wait_for_change=true&last_etag=", AwaitedChange(b"", 3600.0)),
        (b"?last_etag=W/%22a1%22&wait_for_change=true", AwaitedChange(b"a1", 3600.0)),
        (b'?last_etag="a1"&wait_for_change=true', AwaitedChange(b"a1", 3600.0)),
        (b"?wait_for_change=true&last_etag=%ff%E2%82%AC", AwaitedChange(b"??", 3600.0)),
        (b"?wait_for_change=true&timeout_sec=0", AwaitedChange(None, 0.0)),
        (b"?wait_for_change=true&timeout_sec=360", AwaitedChange(None, 360.0)),
        (b"?wait_for_change=true&timeout_sec=3601", LONGEST),
        (b"?wait_for_change=true&timeout_sec=-1", LONGEST),
        (b"?wait_for_change=true&timeout_sec=1e3", LONGEST),
        (b"?wait_for_change=true&timeout_sec=" + b"9" * 5000, LONGEST),
        (b"?wait_for_change=true&timeout_sec=%B2", LONGEST),
    ],
)
def test_a_query(query: bytes, wanted: AwaitedChange | None) -> None:
    """Google's three parameters; what is odd about them is no reason to refuse."""
    assert wanted == awaited_change(query)


@pytest.mark.parametrize(
    ("fields", "etag"),
    [
        (b"", b""),
        (b"Content-Type: a\r\nETag: \"x-1\"\r\n", b"x-1"),
        (b"etag:W/\"x\" \r\nB: c\r\n", b"x"),
        (b"ETag: 411261ca6c9e4a8b\r\n", b"411261ca6c9e4a8b"),
        (b"ETag: \"XaX\"\r\n", b"XaX"),
        (b"X-ETag: \"x\"\r\nA: ETag: \"y\"\r\n", b""),
    ],
)  # fmt: skip
def test_an_entity_tag(fields: bytes, etag: bytes) -> None:
    """Strong, weak, or Google's without quotes; only of the field of that name."""
    assert etag == etag_of(fields)
