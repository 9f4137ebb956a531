"""Events show what callers sent cut short and harmless."""

from __future__ import annotations

import pytest

from vagent.nova.events import (
    InstanceSkipped,
    NovaAnswered,
    NovaConnectionRefused,
    NovaFailed,
    NovaHandshakeFailed,
    NovaRefused,
    NovaTlsReloaded,
)
from vagent.observe.event import Event


def test_hostile_request_is_shown_harmlessly() -> None:
    """Control characters are escaped, everything is cut, the query is left out."""
    target = b"/\x1b[31m\xff" + b"a" * 500 + b"?secret"
    event = NovaAnswered("FOO\n" * 50, target, 404, "x\r\n" * 100, "no-such-path")
    text = event.text()
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 500
    assert text.startswith("FOO\\nFOO\\nFOO\\nFOO\\n /\\x1b[31m\\xffaaa")
    assert "secret" not in text
    assert event.label() == "4xx"


def test_answer_without_a_known_instance() -> None:
    """Nobody's name is put where the signature was not right."""
    assert NovaAnswered("GET", b"/", 200, "", "").text() == "GET / for -: 200"


@pytest.mark.parametrize(
    ("event", "label"),
    [
        (NovaRefused("bad-signature"), "bad-signature"),
        (NovaFailed("StoreError", "a.py:1"), ""),
        (InstanceSkipped("x", "y"), ""),
        (NovaTlsReloaded(), "done"),
        (NovaTlsReloaded("x"), "failed"),
        (NovaHandshakeFailed("192.0.2.1", "why"), ""),
        (NovaConnectionRefused(), ""),
    ],
)
def test_labels(event: Event, label: str) -> None:
    """Every event is counted, under a label from a small set."""
    assert label == event.label()
    assert event.counter is not None
    assert event.counter.name.startswith("nova_")
    assert event.counter.name.endswith("_total")


def test_texts() -> None:
    """What is logged says what happened and to whom."""
    assert NovaFailed("E", "a.py:1").text() == "metadata server: E at a.py:1"
    assert InstanceSkipped("x", "y").text() == "stored instance x is not served: y"
    assert NovaTlsReloaded().text() == "metadata server took new certificates"
