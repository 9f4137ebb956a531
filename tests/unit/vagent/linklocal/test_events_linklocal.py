"""Events of the list of services."""

from __future__ import annotations

from vagent.linklocal.events import ServicesChanged, ServicesKept


def test_changed() -> None:
    """The line names up to eight services and counts the rest."""
    assert ServicesChanged(()).text() == "Link-local services: none"
    assert ServicesChanged(("a", "b")).text() == "Link-local services: a, b"
    eight = ", ".join("abcdefgh")
    assert ServicesChanged(tuple("abcdefgh")).text() == f"Link-local services: {eight}"
    assert ServicesChanged(tuple("abcdefghi")).text().endswith("h and 1 more")


def test_kept() -> None:
    """The line says why the table did not change."""
    text = ServicesKept("disk on fire").text()
    assert text == "Link-local services kept as they are: disk on fire"
