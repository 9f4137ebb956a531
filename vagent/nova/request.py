"""A request to the metadata server, and how its target becomes a path in a tree.

The target is read as Nova's parts (gunicorn, Paste, webob, `posixpath.normpath`) read
it: without query and fragment, percent-decoded once, runs of slashes and dot segments
resolved. Where these fail (bytes that are not UTF-8), the path here matches nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes


@dataclass(frozen=True, slots=True)
class NovaRequest:
    """One request. Header names are lower case; the values of a repeated header are
    joined by commas, as a WSGI server joins them.
    """

    method: str
    target: bytes
    headers: Mapping[str, bytes] = field(repr=False)
    content: bytes = field(default=b"", repr=False)

    @property
    def accept(self) -> str:
        """The Accept header, "" where there is none."""
        return self.headers.get("accept", b"").decode("latin-1")

    @property
    def query(self) -> str:
        """What follows the first `?` of the target, without a fragment."""
        query = self.target.partition(b"?")[2]
        return query.partition(b"#")[0].decode("latin-1")


def tree_path(target: bytes) -> tuple[str, ...] | None:
    """The segments of the path: () for the root, None where the target has no path."""
    path = re.split(rb"[?#]", target, maxsplit=1)[0]
    absolute = re.match(rb"https?://[^/]*(/|$)", path, re.IGNORECASE)
    if absolute:
        path = b"/" + path[absolute.end() :]
    if not path.startswith(b"/"):
        return None
    text = unquote_to_bytes(path).decode("utf-8", "surrogateescape")
    folded = posixpath.normpath("/" + text.lstrip("/"))
    return tuple(folded.split("/")[1:]) if folded != "/" else ()
