"""The target of a request, brought into one form (RFC 3986 §6.2.2, RFC 9112 §3.2).

Everything that looks at a path sees the form that the upstream is sent, so there are
no two readings of one path. What paths mean is not known here.
"""

from __future__ import annotations

import re

from vagent.errors import WireError

_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~:@-]*)*/?")
_RUN_OF_SLASHES = re.compile(rb"/{2,}")
_ENCODED = re.compile(rb"[^A-Za-z0-9._~:@!$&'()*+,;=/%-]")
_SENT_AS = [
    b"%%%02X" % byte if _ENCODED.match(bytes((byte,))) else bytes((byte,))
    for byte in range(256)
]
"""Each byte of a path as the upstream gets it; escapes are brought into form before."""
_ABSOLUTE = re.compile(rb"http://([^/?#]+)(?=[/?]|$)", re.IGNORECASE)
_UNRESERVED = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
)
_REFUSED_ESCAPES = frozenset(b"/\\\x00")
_HEX = "0123456789ABCDEFabcdef"
_UNESCAPED = {
    (high + low).encode("ascii"): (
        bytes((int(high + low, 16),))
        if int(high + low, 16) in _UNRESERVED
        else b"%" + (high + low).upper().encode("ascii")
    )
    for high in _HEX
    for low in _HEX
    if int(high + low, 16) not in _REFUSED_ESCAPES
}
"""What stands for an escape, by its two digits in any spelling. A table, because a
function call for each escape takes ten times as long as all the rest of a request."""


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
    if b"%" in path:
        path = _unescape(path)
    path = _RUN_OF_SLASHES.sub(b"/", path)
    if _ENCODED.search(path):
        path = b"".join(map(_SENT_AS.__getitem__, path))
    return _without_dots(path)


def _unescape(path: bytes) -> bytes:
    first, *rest = path.split(b"%")
    pieces = [first]
    for piece in rest:
        plain = _UNESCAPED.get(piece[:2])
        if plain is None:
            raise WireError(_why_not(piece[:2]))
        pieces += (plain, piece[2:])
    return b"".join(pieces)


def _why_not(digits: bytes) -> str:
    if len(digits) == 2 and all(chr(digit) in _HEX for digit in digits):
        return f"path has the escape %{digits.decode('ascii').lower()}"
    return "path has a broken percent escape"


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
