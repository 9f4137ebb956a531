"""A response that was rendered once, in the forms that requests ask for."""

from __future__ import annotations

import pytest

from vagent.metadata.http.rendered_response import RenderedResponse

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
WHOLE = RenderedResponse(HEAD + b"\r\nhello", 5)


@pytest.mark.parametrize(
    ("head_only", "close", "expected"),
    [
        (False, False, HEAD + b"\r\nhello"),
        (True, False, HEAD + b"\r\n"),
        (False, True, HEAD + b"Connection: close\r\n\r\nhello"),
        (True, True, HEAD + b"Connection: close\r\n\r\n"),
    ],
)
def test_each_form(expected: bytes, *, head_only: bool, close: bool) -> None:
    """A HEAD gets the same head without a body; the last response says that it is."""
    assert expected == WHOLE.variant(head_only=head_only, close=close)
