"""Promises of vagent.observe.facts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.observe.event import Event
from vagent.observe.facts import MAX_ITEMS, facts_of, plain
from vagent.observe.oneline import MAX_CHARACTERS


class Reason(StrEnum):
    LATE = "late"


class Number(Enum):
    ONE = 1


@dataclass(slots=True)
class Asked(Event):
    path: bytes
    source: IPv4Address


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1 << 70, 1 << 70),
        (0.25, 0.25),
        (math.nan, None),
        (math.inf, None),
        (Reason.LATE, "late"),
        (Number.ONE, "ONE"),
        (IPv4Address("10.0.0.3"), "10.0.0.3"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        (b"/a\xff\n", "/a\\xff\\n"),
        ("a\x1b[31m", "a\\x1b[31m"),
        (("a", IPv4Address("10.0.0.3")), ["a", "10.0.0.3"]),
    ],
)
def test_values(value: object, expected: object) -> None:
    """What JSON knows stays what it is; the rest becomes one line of text."""
    assert expected == plain(value)


def test_values_are_bounded() -> None:
    """Long texts and long lists are cut."""
    text = plain("x" * 10_000)
    assert isinstance(text, str)
    assert MAX_CHARACTERS == len(text)
    items = plain(tuple(range(10_000)))
    assert isinstance(items, list)
    assert MAX_ITEMS == len(items)


def test_facts_of_an_event() -> None:
    """By the names of its fields."""
    event = Asked(b"/latest", IPv4Address("10.0.0.3"))
    assert {"path": "/latest", "source": "10.0.0.3"} == facts_of(event)


@given(st.one_of(st.binary(), st.text(), st.floats(), st.tuples(st.text())))
def test_whatever_is_in_it_json_takes_it(value: Any) -> None:
    """Strictly: what comes out means the same everywhere."""
    found = plain(value)
    assert found == json.loads(json.dumps(found, allow_nan=False))
