"""Page values become HTML5 for people: no script, nothing fetched from anywhere.

Elements are built as a tree and serialised by lxml, so text cannot become markup;
characters that XML forbids are replaced first (`legal`).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Any

from lxml import etree
from lxml.builder import E

from introspect.page import Bars, Block, Cell, FactTable, Form, Page, Table, Tiles
from introspect.sandesh import legal

CONTENT_TYPE = "text/html; charset=utf-8"
NAVIGATION = (
    ("Overview", ("/", "/index.html", "/Snh_AgentInitStateReq")),
    ("Metadata", ("/Snh_MetadataInfo",)),
    ("Services", ("/Snh_LinkLocalServiceInfo",)),
    ("Interfaces", ("/Snh_ItfReq", "/Snh_PageReq")),
    (
        "Flows",
        (
            "/Snh_FlowListReq",
            "/Snh_FetchAllFlowRecords",
            "/Snh_NextFlowRecordsSet",
            "/Snh_FetchFlowRecord",
            "/Snh_FetchLinkLocalFlowInfo",
        ),
    ),
    ("Traces", ("/Snh_SandeshTraceBufferListRequest", "/Snh_SandeshTraceRequest")),
    ("Statistics", ("/Snh_StatisticsInfo",)),
)
"""The menu: titles, and the paths that belong to each. It links to the first."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around a page: the menu, its date, the version of the agent.

    `path` is the path without the query; `xml` leads to the same page as XML, "" where
    there is none; `when` is a readable time.
    """

    path: str
    xml: str
    when: str
    version: str


class HtmlRenderer:
    """Renders pages with the style sheet that it holds."""

    def __init__(self) -> None:
        self._style = (files("introspect") / "static/style.css").read_text("utf-8")

    @property
    def style_source(self) -> str:
        """The CSP source expression that allows exactly our style sheet."""
        return f"'sha256-{b64encode(sha256(self._style.encode()).digest()).decode()}'"

    def render(self, page: Page, frame: Frame) -> bytes:
        """The whole document."""
        head = E.head(
            _el("meta", charset="utf-8"),
            _el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            _el("title", f"{page.title} · vagent"),
            E.style(self._style),
        )
        main = _el(
            "main",
            _el("h1", page.title),
            _el("p", page.about, css="about"),
            *(_BLOCKS[type(block)](block) for block in page.shown()),
            id="main",
        )
        skip = _el("a", "Skip to content", href="#main", css="skip")
        body = E.body(skip, _header(frame), main, _footer(frame))
        document = E.html(head, body, {"lang": "en"})
        written = etree.tostring(
            document, method="html", doctype="<!DOCTYPE html>", encoding="utf-8"
        )
        return bytes(written)


def _el(
    tag: str, /, *children: str | etree._Element, css: str = "", **attributes: str
) -> Any:
    given = {key: legal(value) for key, value in attributes.items()}
    if css:
        given["class"] = css
    safe = (legal(each) if isinstance(each, str) else each for each in children)
    return getattr(E, tag)(*safe, given)


def _header(frame: Frame) -> Any:
    links = []
    for title, paths in NAVIGATION:
        current = {"aria-current": "page"} if frame.path in paths else {}
        links.append(_el("li", _el("a", title, href=paths[0], **current)))
    brand = _el("a", "vagent", href="/", css="brand")
    navigation = _el("nav", _el("ul", *links), **{"aria-label": "Pages"})
    return _el("header", _el("div", brand, navigation))


def _footer(frame: Frame) -> Any:
    items = [
        _el("span", f"As of {frame.when}"),
        _el("span", f"vagent {frame.version}"),
        _el("a", "Metrics", href="/metrics"),
    ]
    if frame.xml:
        items.append(_el("a", "This page as XML", href=frame.xml))
    return _el("footer", *items)


def _cell(cell: Cell) -> Any:
    content = _el("a", cell.text, href=cell.href) if cell.href else cell.text
    return _el("span", content, css=cell.tone) if cell.tone else content


def _section(caption: str, *content: Any) -> Any:
    return _el("section", *([_el("h2", caption)] if caption else []), *content)


def _note(text: str) -> list[Any]:
    return [_el("p", text, css="note")] if text else []


def _framed(table: Any, label: str) -> Any:
    named = {"aria-label": label} if label else {}
    return _el("div", table, css="scroll", role="region", tabindex="0", **named)


def _table(block: Table) -> Any:
    if not block.rows:
        nothing = _el("div", _el("p", block.empty, css="empty"), css="scroll")
        return _section(block.caption, *_note(block.note), nothing)
    heads = (
        _el("th", column.title, scope="col", css="number" if column.is_number else "")
        for column in block.columns
    )
    rows = (_row(block, row) for row in block.rows)
    table = _el("table", _el("thead", _el("tr", *heads)), _el("tbody", *rows))
    return _section(block.caption, *_note(block.note), _framed(table, block.caption))


def _row(block: Table, row: Sequence[Cell]) -> Any:
    return _el(
        "tr",
        *(
            _el("td", _cell(cell), css="number" if column.is_number else "")
            for column, cell in zip(block.columns, row, strict=True)
        ),
    )


def _facts(block: FactTable) -> Any:
    rows = (
        _el(
            "tr",
            _el("th", fact.name, scope="row"),
            _el("td", _cell(fact.value), css="value"),
            _el("td", fact.note, css="quiet"),
        )
        for fact in block.rows
    )
    table = _el("table", _el("tbody", *rows), css="facts")
    return _section(block.caption, _framed(table, block.caption))


def _bars(block: Bars) -> Any:
    largest = max((value for _, value in block.rows), default=0) or 1
    rows = (
        _el(
            "tr",
            _el("th", name, scope="row"),
            _el("td", f"{value:,}", css="number"),
            _el("td", _bar(100 * value / largest)),
        )
        for name, value in block.rows
    )
    table = _el("table", _el("tbody", *rows), css="bars")
    framed = _framed(table, block.caption)
    return _section(block.caption, *_note(block.note), framed)


def _bar(percent: float) -> Any:
    shape = _el("rect", width=f"{percent:.2f}%", height="100%", rx="3")
    return _el("svg", shape, **{"aria-hidden": "true"})


def _tiles(block: Tiles) -> Any:
    tiles = (
        _el(
            "li",
            _el(
                "a",
                _el("span", tile.title, css="title"),
                _el("span", tile.headline, css=f"headline {tile.tone}".strip()),
                _el("span", tile.unit, css="quiet"),
                _el("span", tile.about, css="about"),
                href=tile.href,
            ),
        )
        for tile in block.rows
    )
    return _section("", _el("ul", *tiles, css="tiles"))


def _form(block: Form) -> Any:
    inputs = (
        _el("label", entry.title, _el("input", name=entry.name, value=entry.value))
        for entry in block.entries
    )
    button = _el("button", block.button, type="submit")
    form = _el("form", *inputs, button, action=block.action, method="get")
    return _section("", *_note(block.note), form)


_BLOCKS: dict[type[Block], Any] = {
    Table: _table,
    FactTable: _facts,
    Bars: _bars,
    Tiles: _tiles,
    Form: _form,
}
