"""Promises of introspect.sandesh and introspect.schema."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from introspect.sandesh import STYLESHEET, document, escaped, legal
from introspect.schema import attribute, attributes

ANY_TEXT = st.text(st.characters(exclude_categories=()))
PI = b'<?xml-stylesheet type="text/xsl" href="/universal_parse.xsl"?>'
LAST = b'<more type="bool" identifier="0">false</more>'
MORE = b'<more type="bool" identifier="0">true</more>'


@dataclass(frozen=True)
class Inner:
    name: str = attribute("string", 1, link="OtherReq")


@dataclass(frozen=True)
class Everything:
    second: int = attribute("u32", 20)
    first: str | None = attribute("string", 1)
    flag: bool = attribute("bool", 3)
    one: Inner = attribute("struct", 4)  # noqa: RUF009 - is dataclasses.field
    many: tuple[Inner, ...] = attribute("list", 5, item="struct")
    words: tuple[str, ...] = attribute("list", 6, item="string")
    private: int = field(default=7)


def body(part: object) -> bytes:
    return document([part]).removeprefix(PI)


def everything(text: str | None = "x") -> Everything:
    inner = Inner(text or "")
    return Everything(9, text, True, inner, (inner, inner), (text or "",))


def test_every_type_as_contrail_writes_it() -> None:
    """Order of declaration, identifiers, links, structs and lists, byte for byte."""
    inner = (
        b'<Inner><name type="string" identifier="1" link="OtherReq">x</name></Inner>'
    )
    expected = (
        b'<Everything type="sandesh">'
        b'<second type="u32" identifier="20">9</second>'
        b'<first type="string" identifier="1">x</first>'
        b'<flag type="bool" identifier="3">true</flag>'
        b'<one type="struct" identifier="4">' + inner + b"</one>"
        b'<many type="list" identifier="5"><list type="struct" size="2">'
        + inner
        + inner
        + b"</list></many>"
        b'<words type="list" identifier="6"><list type="string" size="1">'
        b"<element>x</element></list></words>" + LAST + b"</Everything>"
    )
    assert expected == body(everything())


def test_none_leaves_the_element_out() -> None:
    """An optional field that is not set has no element."""
    assert b"<first" not in body(everything(None))


def test_empty_lists_keep_their_inner_list() -> None:
    """An empty list still has its `list` child, which clients read the size from."""
    empty = Everything(9, "", False, Inner(""), (), ())
    assert b'identifier="5"><list type="struct" size="0"></list></many>' in body(empty)
    assert b'identifier="6"><list type="string" size="0"></list></words>' in body(empty)
    assert b'<flag type="bool" identifier="3">false</flag>' in body(empty)


def test_the_document_starts_with_the_stylesheet() -> None:
    """There is no XML declaration: lxml refuses one in str."""
    written = document([Inner("a")])
    assert written.startswith(PI + b"<Inner ")
    assert STYLESHEET.encode() == PI
    etree.fromstring(written.decode())


def test_several_parts_are_wrapped_after_the_first() -> None:
    """Parts stand in `__FIRST_list`; all but the last say more."""
    written = document([Inner("a"), Inner("b")], is_list=True)
    opening = PI + b'<__Inner_list type="slist"><Inner type="sandesh">'
    assert written.startswith(opening)
    assert written.endswith(LAST + b"</Inner></__Inner_list>")
    assert (written.count(MORE), written.count(LAST)) == (1, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("&'<>\"", '&amp;&apos;&lt;&gt;"'),
        ("]]>", "]]&gt;"),
        ("\x00\x1b\ud800\ufffe\uffff", "\ufffd" * 5),
        ("\t\n\r", "\t\n\r"),
        ("plain (=;?~) text", "plain (=;?~) text"),
        ("ü🙂", "ü🙂"),
    ],
)
def test_escapes(text: str, expected: str) -> None:
    """The four escapes of Contrail, and U+FFFD for what XML forbids."""
    assert expected == escaped(text)


@given(ANY_TEXT)
def test_any_text_is_well_formed_and_comes_back(text: str) -> None:
    """No text breaks the document or becomes an element."""
    root = etree.fromstring(document([everything(text)]).decode())
    elements = {element.tag for element in root.iter() if isinstance(element.tag, str)}
    names = {"Everything", "second", "flag", "one", "many", "words", "more", "Inner"}
    assert names | {"first", "name", "list", "element"} == elements
    expected = legal(text).replace("\r\n", "\n").replace("\r", "\n")
    assert expected == (root.findtext("words/list/element") or "")


def test_attributes_are_the_marked_fields() -> None:
    """Fields without an attribute are not Sandesh's."""
    names = [each.name for each in attributes(Everything)]
    assert names == ["second", "first", "flag", "one", "many", "words"]
    assert [each.is_number for each in attributes(Everything)[:2]] == [True, False]
