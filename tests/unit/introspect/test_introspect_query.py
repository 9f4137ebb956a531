"""Promises of introspect.query."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from introspect.query import MAX_PAIRS, parse, whole

TRACE = ("buf_name", "count")
ITF = ("name", "type", "uuid", "vn", "mac", "ipv4_address")


@pytest.mark.parametrize(
    ("query", "names", "expected"),
    [
        ("x=Metadata", TRACE, {"buf_name": "Metadata"}),
        ("x=Metadata&y=5", TRACE, {"buf_name": "Metadata", "count": "5"}),
        ("buf_name=Metadata", TRACE, {"buf_name": "Metadata"}),
        ("count=5&buf_name=Metadata", TRACE, {"buf_name": "Metadata", "count": "5"}),
        ("x=Metadata&count=5", TRACE, {"buf_name": "Metadata", "count": "5"}),
        ("x=&y=5", TRACE, {"count": "5"}),
        ("x=1&y=2&z=3", TRACE, {"buf_name": "1", "count": "2"}),
        ("buf_name=a&buf_name=b", TRACE, {"buf_name": "b"}),
        ("x=wrong&buf_name=right", TRACE, {"buf_name": "right"}),
        ("name=&type=&uuid=93c2&vn=", ITF, {"uuid": "93c2"}),
        ("a=&b=&c=93c2", ITF, {"uuid": "93c2"}),
        ("x=a%20b%2Bc+d", TRACE, {"buf_name": "a b+c d"}),
        ("x=begin:0=junk", TRACE, {"buf_name": "begin:0"}),
        ("x", TRACE, {}),
        ("", TRACE, {}),
        ("&&&", TRACE, {}),
        ("x=Metadata", (), {}),
    ],
)
def test_arguments(
    query: str, names: tuple[str, ...], expected: dict[str, str]
) -> None:
    """Names count first, then positions; empty values are skipped."""
    assert expected == parse(query, names).arguments


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("format=xml&x=M", "xml"),
        ("x=M&format=html", "html"),
        ("x=M&format=pdf", ""),
        ("x=M", ""),
    ],
)
def test_format_takes_no_place(query: str, wanted: str) -> None:
    """`format` chooses the form and never shifts positions; unknown forms are none."""
    read = parse(query, TRACE)
    assert wanted == read.format
    assert read.arguments == {"buf_name": "M"}


@pytest.mark.parametrize(
    ("pairs", "found"), [(MAX_PAIRS, True), (MAX_PAIRS + 1, False)]
)
def test_pairs_have_a_ceiling(pairs: int, found: bool) -> None:
    """Pairs beyond MAX_PAIRS are not read."""
    query = "&".join(["junk=1"] * (pairs - 1) + ["count=5"])
    assert found is (parse(query, TRACE).arguments.get("count") == "5")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 5),
        (" 12abc", 12),
        ("-3", -3),
        ("+4", 4),
        ("abc", None),
        ("", None),
        (None, None),
        ("٣", None),
        ("9" * 4_000, int("9" * 18)),
    ],
)
def test_whole_numbers_are_read_leniently(
    text: str | None, expected: int | None
) -> None:
    """Leading digits count, as in Contrail; nonsense is no number."""
    assert expected == whole(text)


@given(st.text(max_size=300))
def test_no_query_fails(query: str) -> None:
    """Any query string is read without an error, and only known fields come out."""
    read = parse(query, TRACE)
    assert set(read.arguments) <= set(TRACE)
    assert all(read.arguments.values())
