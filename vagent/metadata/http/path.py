"""The target of a request, brought into one form (RFC 3986 §6.2.2, RFC 9112 §3.2).

Everything that looks at a path sees the form that the upstream is sent, so there are
no two readings of one path. What paths mean is not known here.
"""

from __future__ import annotations

import re

from vagent.errors import WireError

_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~:@-]*)*/?")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_RUN_OF_SLASHES = re.compile(rb"/{2,}")
_ENCODED = re.compile(rb"[^A-Za-z0-9._~:@!$&'()*+,;=/%-]")
_ABSOLUTE = re.compile(rb"http://([^/?#]+)(?=[/?]|$)", re.IGNORECASE)
_UNRESERVED = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
)
_REFUSED_ESCAPES = frozenset(b"/\\\x00")


def parse_target(target: bytes) -> tuple[bytes, bytes]:
    """A request target → canonical path, and query with its `?`. Raises WireError."""
    path, query = split_target(target)
    return canonical(path), query


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """A request target in origin or absolute form → path, and query with its `?`.

    Raises WireError for the other forms, a fragment, or bytes outside printable ASCII.
    """
    if b"#" in target:
        raise WireError("request target has a fragment")
    if not target.isascii() or not target.decode("ascii").isprintable():
        raise WireError("request target has bytes outside printable ASCII")
    if not target.startswith(b"/"):
        authority = _ABSOLUTE.match(target)
        if authority is None:
            raise WireError("request target is neither /path nor http://host/path")
        target = target[authority.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    path, mark, query = target.partition(b"?")
    return path, mark + query


def canonical(path: bytes) -> bytes:
    """Decode what needs no encoding, merge slashes, resolve dot segments.

    Raises WireError for a broken escape, and for `%2f`, `%5c`, `%00` and a bare
    backslash, which an upstream may understand differently.
    """
    if _PLAIN.fullmatch(path):
        return path or b"/"
    if b"\\" in path:
        raise WireError("path has a backslash")
    path = _ESCAPE.sub(_unescape, path)
    path = _RUN_OF_SLASHES.sub(b"/", path)
    path = _ENCODED.sub(lambda found: b"%%%02X" % found[0][0], path)
    return _without_dots(path)


def _unescape(found: re.Match[bytes]) -> bytes:
    digits = found[1]
    if digits is None:
        raise WireError("path has a broken percent escape")
    byte = int(digits, 16)
    if byte in _REFUSED_ESCAPES:
        raise WireError(f"path has the escape %{byte:02x}")
    return bytes((byte,)) if byte in _UNRESERVED else b"%%%02X" % byte


def _without_dots(path: bytes) -> bytes:
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)
