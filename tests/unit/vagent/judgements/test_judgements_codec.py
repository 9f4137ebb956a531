"""Judgements as JSON: what is written is read, and another form is told apart."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.vagent.judgements.test_judgements_book import PORT
from tests.unit.vagent.judgements.test_judgements_judgement import DOWN
from vagent.errors import WireError
from vagent.judgements.codec import VERSION, read_status, to_json


def document(**changes: Any) -> dict[str, Any]:
    shown = to_json((DOWN, PORT))
    return {"version": VERSION, "not_ready": None, "judgements": shown, **changes}


def test_what_is_written_is_read() -> None:
    """Every member of every judgement."""
    assert ("", (DOWN, PORT)) == read_status(document())
    assert ("starting", ()) == read_status(
        document(not_ready="starting", judgements=[])
    )


def test_the_form() -> None:
    """What programs can rely on."""
    assert {
        "kind": "instance-unknown",
        "severity": "wrong",
        "subject": {
            "kind": "port",
            "id": "p1",
            "name": "web",
            "instance": "i1",
            "tap": "tap1",
        },
        "text": "down: refused",
        "remedy": "look there",
        "since": 100.0,
        "request": "req-1",
    } == to_json((PORT,))[0]


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        document(version=2),
        document(judgements=None),
        document(judgements=[{}]),
        document(judgements=[{**to_json((DOWN,))[0], "severity": "odd"}]),
    ],
)
def test_another_form_is_told_apart(wrong: Any) -> None:
    """From an agent with which nothing is wrong."""
    with pytest.raises(WireError):
        read_status(wrong)
