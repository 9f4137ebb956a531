"""What fields say: lists of tokens, and valid hosts."""

from __future__ import annotations

import pytest

from vagent.metadata.http.headers import is_host, tokens


def test_tokens() -> None:
    """In lower case, without the white space that RFC 9110 allows around them; other
    bytes are theirs.
    """
    assert {b"close", b"x-hop", b"a\x0c", b"b c"} == tokens(
        b" Close ,\tX-Hop\t,a\x0c,B c"
    )
    assert {b""} == tokens(b"")


@pytest.mark.parametrize(
    ("host", "is_valid"),
    [
        (b"a", True),
        (b"a" * 255, True),
        (b"a" * 256, False),
        (b"", False),
        (b":80", False),
        (b"a:", True),
        (b"a:65535", True),
        (b"a:655350", False),
        (b"[::1]:80", True),
        (b"[:]", False),
        (b"::1", False),
        (b"a b", False),
        (b"a\n", False),
    ],
)
def test_hosts(host: bytes, *, is_valid: bool) -> None:
    """A name or an address, and perhaps a port."""
    assert is_valid is is_host(host)
