"""What a request head says of session tokens, in either spelling."""

from __future__ import annotations

import pytest

from vagent.errors import WireError
from vagent.metadata.http.session_fields import (
    NO_SESSION,
    SessionFields,
    session_fields,
)

AMAZON, PLAIN = b"X-aws-ec2-metadata-token", b"X-metadata-token"


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([(b"host", b"a"), (b"accept", b"b")], NO_SESSION),
        ([(b"x-other", b"a")], NO_SESSION),
        ([(b"x-metadata-token", b" \tXabX\t ")], SessionFields(token=b"XabX")),
        ([(AMAZON.lower(), b"")], SessionFields(token=b"")),
        (
            [(AMAZON.lower() + b"-ttl-seconds", b"60")],
            SessionFields(ttl=b"60", family=AMAZON),
        ),
        (
            [(PLAIN.lower() + b"-ttl-seconds", b"60")],
            SessionFields(ttl=b"60", family=PLAIN),
        ),
        ([(b"x_forwarded_for", b"a")], SessionFields(is_forwarded=True)),
        ([(b"via", b"a")], SessionFields(is_forwarded=True)),
    ],
)
def test_what_is_said(fields: list[tuple[bytes, bytes]], found: SessionFields) -> None:
    """A token, a lifetime and how it was asked for, and whether a proxy was there."""
    assert found == session_fields(fields)


@pytest.mark.parametrize("suffix", [b"", b"-ttl-seconds"])
def test_what_contradicts_itself_is_refused(suffix: bytes) -> None:
    """Two spellings with one value are no contradiction."""
    names = [name.lower() + suffix for name in (AMAZON, PLAIN)]
    session_fields([(name, b"60") for name in names])
    with pytest.raises(WireError, match="differ"):
        session_fields(list(zip(names, (b"60", b"61"), strict=True)))
