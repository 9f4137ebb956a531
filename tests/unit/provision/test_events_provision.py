"""Events of the config API."""

from __future__ import annotations

from provision.config_api.events import ApiAnswered, ApiFailed


def test_answered() -> None:
    """The client's text is escaped and cut; the label is the status."""
    event = ApiAnswered("GET\x1b", "/\n" + "x" * 1000, 404)
    assert event.text().isprintable()
    assert len(event.text()) < 160
    assert event.label() == "404"


def test_failed() -> None:
    """Only the kind of fault shows."""
    assert ApiFailed("KeyError").text() == "A call of the config API failed: KeyError"
