"""What a guest asks for that wants to wait until a document changes, as on Google's
Compute Engine: `?wait_for_change=true&last_etag=…&timeout_sec=…`. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs

LONGEST_SECONDS = 3600.0
"""How long a request may wait, and does where it does not say. Flows that are silent
for two hours are forgotten by the kernel, and their reply would be lost."""

_MARK = b"wait_for_change"
_ETAG = re.compile(rb"^etag:[ \t]*([^\r]*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AwaitedChange:
    """Wait until the document's entity tag is another than `last_etag`, or than what it
    is now if that is None; at most so many `seconds`.
    """

    last_etag: bytes | None
    seconds: float


def awaited_change(query: bytes) -> AwaitedChange | None:
    """What a query (with its `?`) asks for; None: it does not want to wait.

    A `timeout_sec` that is no whole number counts as none.
    """
    if _MARK not in query:
        return None
    fields = parse_qs(query[1:].decode("latin-1"), keep_blank_values=True)
    if fields.get("wait_for_change", [""])[0].lower() != "true":
        return None
    last = fields.get("last_etag", [None])[0]
    seconds = fields.get("timeout_sec", [""])[0]
    is_number = seconds.isascii() and seconds.isdigit() and len(seconds) < 10
    return AwaitedChange(
        None if last is None else opaque(last.encode("latin-1", "replace")),
        min(float(seconds), LONGEST_SECONDS) if is_number else LONGEST_SECONDS,
    )


def etag_of(fields: bytes) -> bytes:
    """The entity tag among the field lines of a response, as `opaque`; b"" if there is
    none.
    """
    found = _ETAG.search(fields)
    return b"" if found is None else opaque(found[1])


def opaque(etag: bytes) -> bytes:
    """A tag without quotes and mark of weakness (RFC 9110 §8.8.3.2, weak comparison).
    Google's tags have no quotes, and clients may leave ours out.
    """
    return etag.removeprefix(b"W/").strip(b'"')
