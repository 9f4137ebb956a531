"""Promises of vagent.observe.oneline."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from vagent.observe.oneline import MAX_CHARACTERS, one_line

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /latest", "GET /latest"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x00\x1b[31m\x7f\x85", "\\x00\\x1b[31m\\x7f\\x85"),
        ("\u2028\u202e\ufeff", "\\u2028\\u202e\\ufeff"),
        ("\ud800\uffff", "\\ud800\\uffff"),
        ("\U000e0041", "\\U000e0041"),
        ("Grüße 東京 🙂", "Grüße 東京 🙂"),
    ],
)
def test_escapes(text: str, expected: str) -> None:
    """What could pass for structure is shown as an escape; other text is untouched."""
    assert expected == one_line(text)


@pytest.mark.parametrize("length", [MAX_CHARACTERS - 1, MAX_CHARACTERS])
def test_up_to_the_limit_is_whole(length: int) -> None:
    """Text of up to the limit stays whole."""
    assert "x" * length == one_line("x" * length)


def test_beyond_the_limit_is_cut() -> None:
    """One character more is cut, visibly, to the limit."""
    assert one_line("x" * (MAX_CHARACTERS + 1)) == "x" * (MAX_CHARACTERS - 1) + "…"


def test_escapes_count() -> None:
    """Escapes cannot make a line longer than the limit."""
    assert len(one_line("\x00" * 5_000)) == MAX_CHARACTERS


@given(ANY_TEXT)
def test_any_text_is_harmless(text: str) -> None:
    """Whatever comes in, no control, separator or illegal XML character comes out."""
    line = one_line(text)
    assert not [c for c in line if unicodedata.category(c) in {"Cc", "Zl", "Zp", "Cs"}]
    etree.Element("element").text = line
