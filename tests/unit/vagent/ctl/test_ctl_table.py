"""Promises of vagent.ctl.table: straight columns, and nothing raw on a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.ctl.table import as_json, printable, record, table, width


def test_a_table() -> None:
    """Aligned by what is seen, `-` for nothing, no blanks at the end."""
    rows: list[list[Any]] = [
        ["a", 1, None],
        ["名前", ["x", "y"], ""],
        ["e\u0301", True, {"k": 1}],
    ]
    assert table(["n", "long title", "z"], rows) == (
        "N     LONG TITLE  Z\n"
        "a     1           -\n"
        "名前  x, y        -\n"
        'e\u0301     true        {"k": 1}\n'
    )


def test_a_table_of_nothing_has_titles() -> None:
    """So that one sees what there could be."""
    assert table(["a", "b"], []) == "A  B\n"


def test_a_record() -> None:
    """One line a member, none for none."""
    assert record({"a": 1, "long": "x\ny"}) == "a     1\nlong  x\\x0ay\n"
    assert record({}) == ""


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\tb", "a\\x09b"),
        ("\x1b]0;x\x07", "\\x1b]0;x\\x07"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("\u202eabc", "\\u202eabc"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("Ünïcode 名前 🙂", "Ünïcode 名前 🙂"),
    ],
)
def test_escapes(raw: str, shown: str) -> None:
    """Control characters, direction marks, surrogates; letters stay."""
    assert printable(raw) == shown


@given(st.text(st.characters()), st.lists(st.text(st.characters()), max_size=2))
def test_nothing_unprintable_ever_gets_out(name: str, more: list[str]) -> None:
    """Tables, records and JSON, whatever a guest is called; a row is one line."""
    for shown in (table(["n"], [[name], [more]]), record({name: more})):
        assert all(c.isprintable() or c == "\n" for c in shown)
    assert table(["n"], [[name]]).count("\n") == 2
    shown = as_json({"n": name})
    assert shown.isascii()
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert json.loads(shown) == {"n": name}


def test_width() -> None:
    """Cells, not characters."""
    assert [width(t) for t in ("", "a", "名", "e\u0301")] == [0, 1, 2, 1]
