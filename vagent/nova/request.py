"""A request to the metadata server, and how its target becomes a path in a tree.

The target is read as Nova's parts (gunicorn, Paste, webob, `posixpath.normpath`) read
it: without query and fragment, percent-decoded once, runs of slashes and dot segments
resolved. Where Nova itself fails (`%ff` is not UTF-8), the path here matches nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote_to_bytes, urlsplit

_PRINTABLE = re.compile(rb"[!-~]+")
_ABSOLUTE = re.compile(rb"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
"""Nova's front takes any scheme (RFC 3986 §3.1)."""
_METHOD = re.compile(r"[A-Z0-9$._-]{3,20}")
"""What gunicorn takes for a method; Nova then takes all for GET."""

MAX_REMEMBERED = 256
"""Bytes of a target whose path is remembered: guests ask for the same thirty."""


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
    def has_method(self) -> bool:
        """Is the method one that Nova's front takes?"""
        return _METHOD.fullmatch(self.method) is not None

    @property
    def query(self) -> str:
        """What follows the first `?` of the target, without a fragment."""
        query = self.target.partition(b"?")[2]
        return query.partition(b"#")[0].decode("latin-1")


def tree_path(target: bytes) -> tuple[str, ...] | None:
    """The segments of the path: () for the root; None where the target has no path, or
    bytes that are not printable ASCII.
    """
    return _remembered(target) if len(target) <= MAX_REMEMBERED else _tree_path(target)


def _tree_path(target: bytes) -> tuple[str, ...] | None:
    if not _PRINTABLE.fullmatch(target):
        return None
    path = re.split(rb"[?#]", target, maxsplit=1)[0]
    if _ABSOLUTE.match(path):
        try:
            path = b"/" + urlsplit(path).path
        except ValueError:
            return None
    if not path.startswith(b"/"):
        return None
    text = unquote_to_bytes(path).decode("utf-8", "surrogateescape")
    folded = posixpath.normpath("/" + text.lstrip("/"))
    return tuple(folded.split("/")[1:]) if folded != "/" else ()


_remembered = lru_cache(maxsize=512)(_tree_path)
