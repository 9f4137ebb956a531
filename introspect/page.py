"""What a page is: Sandesh parts for tools, and blocks for people.

Both are frozen values, so what is written is the state of one moment. A page without
blocks of its own is shown to people from its parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from introspect.schema import Attribute, attributes

Tone = Literal["", "good", "bad", "quiet", "code", "whole"]
"""How the text of a cell is styled: `code` and `whole` are kept on one line."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece of text, perhaps a link to another page of this server."""

    text: str
    href: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a table's column. Numbers stand to the right."""

    title: str
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under heads; `empty` is what stands there without any row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str = "Nothing here yet."
    note: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A name, its value, and what it means."""

    name: str
    value: Cell
    note: str = ""


@dataclass(frozen=True, slots=True)
class FactTable:
    """Single values."""

    caption: str
    rows: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Bars:
    """Whole numbers to be compared at a glance."""

    caption: str
    rows: tuple[tuple[str, int], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """A way to another page: its headline number and what it shows."""

    title: str
    href: str
    headline: str
    unit: str
    about: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Tiles:
    """The front page's ways."""

    rows: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class FormField:
    """A form's field: name on the wire, title for people, value to start from."""

    name: str
    title: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """A request that takes parameters: path, label of the button, fields."""

    action: str
    button: str
    entries: tuple[FormField, ...]
    note: str = ""


Block = Table | FactTable | Bars | Tiles | Form


@dataclass(frozen=True, slots=True)
class Page:
    """One answer. `is_list` wraps the parts as responses of several parts are."""

    title: str
    about: str
    parts: tuple[Any, ...]
    blocks: tuple[Block, ...] = ()
    is_list: bool = False

    def shown(self) -> tuple[Block, ...]:
        """What people see: the blocks given, or those that follow from the parts."""
        return self.blocks or tuple(
            block for part in self.parts for block in blocks_of(part)
        )


def link(request: str, **arguments: str) -> str:
    """The path of a request on this server."""
    query = f"?{urlencode(arguments, errors='replace')}" if arguments else ""
    return f"/Snh_{request}{query}"


def blocks_of(part: Any) -> tuple[Block, ...]:
    """The blocks of one Sandesh part: its single values, then a table per list."""
    plain = [
        each for each in attributes(type(part)) if each.kind not in {"list", "struct"}
    ]
    lists = [each for each in attributes(type(part)) if each.kind == "list"]
    facts = tuple(
        Fact(_title(each), cell(each, getattr(part, each.name)), each.note)
        for each in plain
        if getattr(part, each.name) is not None
    )
    tables = tuple(
        table(_title(each), each, getattr(part, each.name)) for each in lists
    )
    return ((FactTable("", facts), *tables)) if facts else tables


def table(caption: str, about: Attribute, rows: tuple[Any, ...]) -> Table:
    """A table of a list: of structs (columns from the first), or of single values."""
    if about.item != "struct":
        shown = tuple((Cell(str(each)),) for each in rows)
        return Table(caption, (Column(_title(about)),), shown, note=about.note)
    columns = attributes(type(rows[0])) if rows else ()
    return Table(
        caption,
        tuple(Column(_title(each), each.is_number) for each in columns),
        tuple(
            tuple(cell(each, getattr(row, each.name)) for each in columns)
            for row in rows
        ),
        note=about.note,
    )


def cell(about: Attribute, value: Any) -> Cell:
    """One value. The first field of a linked request takes the value."""
    if about.kind == "list":
        return Cell(", ".join(str(each) for each in value))
    text = "" if value is None else str(value)
    return Cell(text, link(about.link, x=text) if about.link and text else "")


def _title(about: Attribute) -> str:
    return about.title or about.name.replace("_", " ")
