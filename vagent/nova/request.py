"""What was asked: a value, and how its target becomes a path in a tree.

The target is read as Nova's front (gunicorn, Paste, webob, `posixpath.normpath`) reads
it: query and fragment dropped, percent-decoded once, slashes and dots folded. Where
that front crashes (bytes that are not UTF-8) the path here simply matches nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes


@dataclass(frozen=True, slots=True)
class NovaRequest:
    """One request. Header names are lower case; values of equal names are joined by
    commas, as a WSGI server joins them.
    """

    method: str
    target: bytes
    headers: Mapping[str, bytes] = field(repr=False)
    content: bytes = field(default=b"", repr=False)

    @property
    def accept(self) -> str:
        """The Accept header, "" where there is none."""
        return self.headers.get("accept", b"").decode("latin-1")


def tree_path(target: bytes) -> tuple[str, ...] | None:
    """The names along the path, () for the root, None where the target has no path."""
    path = re.split(rb"[?#]", target, maxsplit=1)[0]
    absolute = re.match(rb"https?://[^/]*(/|$)", path, re.IGNORECASE)
    if absolute:
        path = b"/" + path[absolute.end() :]
    if not path.startswith(b"/"):
        return None
    text = unquote_to_bytes(path).decode("utf-8", "surrogateescape")
    folded = posixpath.normpath("/" + text.lstrip("/"))
    return tuple(folded.split("/")[1:]) if folded != "/" else ()
