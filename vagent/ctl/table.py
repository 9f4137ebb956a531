"""Formats values for a terminal: tables, records, JSON.

Names come from outside, so only printable characters get out: a guest called `\x1b[2J`
is shown like that and cannot clear the screen.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

GAP = "  "
EMPTY = "-"


def printable(text: str) -> str:
    """The text with everything unprintable as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Left-aligned columns under capital titles; `-` where there is nothing."""
    lines = [[column.upper() for column in columns]]
    lines += [[_cell(value) for value in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    return "".join(
        GAP.join(_pad(cell, w) for cell, w in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def record(members: Mapping[str, Any]) -> str:
    """One `name  value` line for each member."""
    names = {printable(name): _cell(value) for name, value in members.items()}
    longest = max(map(width, names), default=0)
    return "".join(
        f"{_pad(name, longest)}{GAP}{value}\n" for name, value in names.items()
    )


def as_json(value: Any) -> str:
    """Indented JSON in ASCII: escapes whatever a terminal could act on."""
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f") + "\n"


def width(text: str) -> int:
    """How many cells of a terminal the text takes."""
    return sum(_cells(c) for c in text)


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _pad(text: str, wanted: int) -> str:
    return text + " " * (wanted - width(text))


def _cell(value: Any) -> str:
    if value is None or value == "":
        return EMPTY
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value)) or EMPTY
    return printable(json.dumps(value))


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
