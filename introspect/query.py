"""A query string becomes arguments, for every generation of Contrail's clients.

Exact names count first; a pair with an unknown name fills the field of its position
(`?x=Metadata`); empty values are skipped but keep their place. `format` is ours and
takes no place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus

MAX_QUERY = 4_096
"""Bytes; the longest known request, ItfReq with all filters, stays below 1,000."""
MAX_PAIRS = 64
"""More pairs than the longest request has fields (12) several times over."""
FORMATS = ("xml", "html")

_WHOLE = re.compile(r"\s*([+-]?[0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Query:
    """Arguments by field name, and the format asked for ("" where none was)."""

    format: str
    arguments: dict[str, str]


def parse(query: str, names: Sequence[str]) -> Query:
    """Read a query string for a request with these fields. The rest is dropped."""
    pairs = [_pair(text) for text in query.split("&")[:MAX_PAIRS] if text]
    wanted = [value for name, value in pairs if name == "format" and value in FORMATS]
    pairs = [(name, value) for name, value in pairs if name != "format"]
    arguments = {name: value for name, value in pairs if name in names and value}
    for field, (name, value) in zip(names, pairs, strict=False):
        if name not in names and value:
            arguments.setdefault(field, value)
    return Query(wanted[-1] if wanted else "", arguments)


def whole(text: str | None) -> int | None:
    """An integer read leniently, as Contrail does: leading digits count."""
    match = _WHOLE.match(text or "")
    return int(match.group(1)) if match else None


def _pair(text: str) -> tuple[str, str]:
    name, value, *_ = [*text.split("="), ""]
    return name, unquote_plus(value)
