"""YAML as values, and the place of everything that is wrong with it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vagent.nova.instance_files.yaml_text import (
    MAX_DEPTH,
    MAX_VALUES,
    DocumentError,
    node_of,
    value_of,
)


def read(text: str) -> Any:
    return value_of(node_of(text))


@pytest.fixture(params=["with libyaml", "without"])
def either_parser(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyYAML may have been built without libyaml, and parses in Python then."""
    if request.param == "without":
        monkeypatch.delattr(yaml, "CBaseLoader")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", {"a": "no"}),
        ("a: on", {"a": "on"}),
        ("a: 1:30", {"a": "1:30"}),
        ("a: 2026-01-01", {"a": "2026-01-01"}),
        ("a: 010", {"a": 10}),
        ("a: -5", {"a": -5}),
        ("a: 1.5e3", {"a": 1500.0}),
        ("a: 7e00", {"a": "7e00"}),
        ("a: 12345678901234567890123456789012", {"a": "1234567890" * 3 + "12"}),
        ("a: true", {"a": True}),
        ("a: False", {"a": False}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: 'true'", {"a": "true"}),
        ("a: |\n  x: 1\n  y\n", {"a": "x: 1\ny\n"}),
        ('{"a": [1, {"b": null}], "é": "\\n"}', {"a": [1, {"b": None}], "é": "\n"}),
        ("1: x", {"1": "x"}),
        ("base: &b [1, 2]\nagain: *b", {"base": [1, 2], "again": [1, 2]}),
    ],
)
@pytest.mark.usefixtures("either_parser")
def test_values(text: str, value: object) -> None:
    """As YAML 1.2's core schema has them; an alias is what it stands for."""
    assert value == read(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1, 2}", "line 1, column 9: did not find expected ',' or ']'"),
        ("a: 1\n  b: 2", "line 2, column 4: mapping values are not allowed"),
        ("a: 1\na: 2", "line 2, column 1: the name 'a' is given twice"),
        ("x:\n  - {b: 1, b: 2}", "line 2, column 12: the name 'b' is given twice"),
        ("[a]: 1", "line 1, column 1: a name must be a text"),
        ("a: !!python/object:os.system x", "line 1, column 4: the tag"),
        ("a: !!int 5", "line 1, column 4: the tag"),
        ("a: b\n\x07c: d", "line 2, column 1: the character U+0007 must be written"),
        ("a: *nobody", "line 1, column 4: "),
        ("--- a\n--- b", "line 2, column 1: "),
        ("", "line 1, column 1: there is no document"),
        ("# nothing", "line 1, column 1: there is no document"),
    ],
)
def test_problems(text: str, problem: str) -> None:
    """Each says where: line and column, from 1."""
    with pytest.raises(DocumentError) as refusal:
        read(text)
    assert problem in str(refusal.value)


@pytest.mark.usefixtures("either_parser")
def test_a_billion_laughs() -> None:
    """Aliases of aliases end at a number of values, whatever they would grow to."""
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(DocumentError, match=f"more than {MAX_VALUES} values"):
        read("\n".join(lines))


@pytest.mark.usefixtures("either_parser")
def test_an_alias_of_itself() -> None:
    """A value within itself has no end, so it is refused."""
    with pytest.raises(DocumentError):
        read("a: &a [*a]")


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize("depth", [MAX_DEPTH + 2, 5_000, 50_000])
def test_deep_nesting(depth: int) -> None:
    """However deep it is, it is refused and nothing breaks."""
    with pytest.raises(DocumentError):
        read("[" * depth + "]" * depth)


def test_as_deep_as_allowed() -> None:
    """The deepest level that is taken."""
    assert read("[" * MAX_DEPTH + "]" * MAX_DEPTH)


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    """Whatever a file holds, the refusal is ours."""
    with suppress(DocumentError):
        read(text)
