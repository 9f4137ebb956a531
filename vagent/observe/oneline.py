"""Any text becomes one harmless line: bounded, printable, legal in XML.

The only place where text for traces and logs is made safe. What a terminal, a log
reader or an XML parser could take for its own (controls, line separators, bidi
overrides, surrogates, non-characters) is shown as a visible escape. All text is
treated as hostile, wherever it came from.
"""

from __future__ import annotations

import re

MAX_CHARACTERS = 1_024
"""Longest text of one event: a guest may send URLs of 8 KiB, and 500 are kept."""

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\ufdd0-\ufdef\ufff9-\uffff\U000e0000-\U000e007f]"
)


def one_line(text: str, limit: int = MAX_CHARACTERS) -> str:
    """`text` without anything unsafe, at most `limit` characters, cut with `…`."""
    safe = _UNSAFE.sub(_escape, text[: limit + 1])
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return _NAMED.get(character) or (
        f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
    )
