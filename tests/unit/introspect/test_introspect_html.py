"""Promises of introspect.html and introspect.page."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from introspect.html import NAVIGATION, Frame, HtmlRenderer
from introspect.page import (
    Bars,
    Cell,
    Column,
    Fact,
    FactTable,
    Form,
    FormField,
    Page,
    Table,
    Tile,
    Tiles,
    blocks_of,
    link,
)
from introspect.schema import attribute

ANY_TEXT = st.text(st.characters(exclude_categories=()))
HOSTILE = '"><svg onload=alert(1)></td><script>alert(2)</script>&lt;'
RENDERER = HtmlRenderer()


@dataclass(frozen=True)
class Row:
    name: str = attribute("string", 1, title="Name", link="RowReq")
    size: int = attribute("i32", 2)
    tags: tuple[str, ...] = attribute("list", 3, item="string")


@dataclass(frozen=True)
class Answer:
    total: int = attribute("i32", 1, title="Total", note="All of them.")
    missing: str | None = attribute("string", 2)
    rows: tuple[Row, ...] = attribute("list", 3, item="struct", note="Sorted.")
    words: tuple[str, ...] = attribute("list", 4, item="string", title="Words")


def frame(path: str = "/Snh_X", xml: str = "/Snh_X?format=xml") -> Frame:
    return Frame(path, xml, "2026-01-02 03:04:05 UTC", "1.2.3")


def written(page: Page, around: Frame | None = None) -> str:
    return RENDERER.render(page, around or frame()).decode()


def tree(page: Page, around: Frame | None = None) -> Any:
    return html.document_fromstring(written(page, around))


def every_block(text: str) -> Page:
    cell = Cell(text, link("X", x=text), "code")
    blocks = (
        Table(text, (Column(text),), ((cell,), (Cell(text),)), note=text),
        Table(text, (), (), text),
        FactTable(text, (Fact(text, cell, text),)),
        Bars(text, ((text, 1), (text, 3)), text),
        Tiles((Tile(text, link("X"), text, text, text, "bad"),)),
        Form("/Snh_X", text, (FormField("x", text, text),), text),
    )
    return Page(text, text, (), blocks)


def shape(text: str) -> list[str]:
    return [str(element.tag) for element in tree(every_block(text)).iter()]


def test_a_document_is_complete() -> None:
    """Doctype, language, character set, title, heading and description are there."""
    text = written(Page("Traces", "Recent decisions.", ()))
    root = html.document_fromstring(text)
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    assert root.get("lang") == "en"
    assert root.xpath("//meta/@charset") == ["utf-8"]
    assert root.findtext(".//title") == "Traces · vagent"
    assert root.xpath("//h1/text()") == ["Traces"]
    assert root.xpath("//main/p/text()") == ["Recent decisions."]


def test_nothing_is_fetched_or_run() -> None:
    """No script, no image, no style sheet or link from elsewhere, no inline style."""
    root = tree(every_block(HOSTILE))
    assert not root.xpath("//script | //img | //link | //iframe | //object")
    assert not root.xpath("//@style | //@src | //@onload | //@onclick")
    assert all(target[0] in "/#" for target in root.xpath("//@href"))


def test_the_policy_allows_exactly_the_style() -> None:
    """The CSP source is the hash of the style element as it is sent."""
    style = tree(Page("a", "b", ())).findtext(".//style")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" == RENDERER.style_source


def test_hostile_text_stays_text() -> None:
    """Markup in any place of any block changes no element."""
    assert shape("x") == shape(HOSTILE)
    assert HOSTILE in tree(every_block(HOSTILE)).text_content()


@given(ANY_TEXT.filter(bool))
def test_any_text_stays_text(text: str) -> None:
    """Whatever the text, the tree of elements is the same."""
    assert shape("x") == shape(text)


def test_the_frame_tells_when_and_who() -> None:
    """The footer has the time, the version, and the way to the XML."""
    footer = tree(Page("a", "b", ())).find(".//footer")
    assert "As of 2026-01-02 03:04:05 UTC" in footer.text_content()
    assert "vagent 1.2.3" in footer.text_content()
    assert footer.xpath("a/@href") == ["/metrics", "/Snh_X?format=xml"]


def test_without_xml_there_is_no_way_to_it() -> None:
    """A page without XML does not offer it."""
    footer = tree(Page("a", "b", ()), frame(xml="")).find(".//footer")
    assert footer.xpath("a/@href") == ["/metrics"]


@pytest.mark.parametrize(("title", "paths"), NAVIGATION)
def test_navigation_marks_where_we_are(title: str, paths: tuple[str, ...]) -> None:
    """Each page of a family marks its entry, and only that."""
    for path in paths:
        root = tree(Page("a", "b", ()), frame(path))
        assert root.xpath("//nav//a[@aria-current='page']/text()") == [title]


def test_tables_are_accessible() -> None:
    """Heads have a scope, numbers stand to the right, a region has its name."""
    columns = (Column("Name"), Column("Size", is_number=True))
    block = Table("Things", columns, ((Cell("a", "/x"), Cell("7")),))
    root = tree(Page("t", "", (), (block,)))
    assert root.xpath("//th/@scope") == ["col", "col"]
    assert root.xpath("//td[@class='number']/text()") == ["7"]
    assert root.xpath("//*[@role='region']/@aria-label") == ["Things"]
    assert root.xpath("//td/a/@href") == ["/x"]


def test_empty_tables_say_so() -> None:
    """Instead of an empty table stands a sentence."""
    root = tree(Page("t", "", (), (Table("T", (Column("a"),), (), "None yet."),)))
    assert root.xpath("//p[@class='empty']/text()") == ["None yet."]
    assert not root.xpath("//table")


def test_bars_compare() -> None:
    """The longest bar is full; the figure stands beside it."""
    root = tree(Page("t", "", (), (Bars("B", (("a", 1), ("b", 4000))),)))
    assert root.xpath("//rect/@width") == ["0.03%", "100.00%"]
    assert root.xpath("//td[@class='number']/text()") == ["1", "4,000"]


def test_bars_of_nothing_are_empty() -> None:
    """All zeros divide by nothing."""
    root = tree(Page("t", "", (), (Bars("B", (("a", 0),)),)))
    assert root.xpath("//rect/@width") == ["0.00%"]


def test_forms_send_their_fields_by_name() -> None:
    """A form is a GET with labelled fields and their values."""
    entries = (
        FormField("buf_name", "Buffer", "Metadata"),
        FormField("count", "Newest"),
    )
    root = tree(Page("t", "", (), (Form("/Snh_T", "Show", entries),)))
    assert root.xpath("//form/@action | //form/@method") == ["/Snh_T", "get"]
    assert root.xpath("//label/input/@name") == ["buf_name", "count"]
    assert root.xpath("//label/input/@value") == ["Metadata", ""]
    assert root.xpath("//label/text()") == ["Buffer", "Newest"]


def test_a_page_without_blocks_is_shown_from_its_parts() -> None:
    """Single values become facts, lists become tables; what is not set is left out."""
    rows = (Row("a&b", 7, ("x", "y")),)
    answer = Answer(1, None, rows, ("w",))
    facts, table, words = Page("t", "", (answer,)).shown()
    assert facts == FactTable("", (Fact("Total", Cell("1"), "All of them."),))
    assert table == Table(
        "rows",
        (Column("Name"), Column("size", is_number=True), Column("tags")),
        ((Cell("a&b", "/Snh_RowReq?x=a%26b"), Cell("7"), Cell("x, y")),),
        note="Sorted.",
    )
    assert words == Table("Words", (Column("Words"),), ((Cell("w"),),))


def test_a_part_without_single_values_has_no_facts() -> None:
    """Only tables are made where there are only lists."""

    @dataclass(frozen=True)
    class Lists:
        rows: tuple[Row, ...] = attribute("list", 1, item="struct", title="Rows")

    assert blocks_of(Lists(())) == (Table("Rows", (), ()),)
