"""Floors of branch coverage rise with what is measured, and never fall."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.coverage.__main__ import problems, raised, read_floors, room_of

TEXT = "# About it.\nvagent/ports 90\nvagent/web 80\n"
FLOORS = {"vagent/ports": 90, "vagent/web": 80}


@pytest.mark.parametrize(
    ("module", "room"),
    [
        ("vagent/agent.py", "vagent"),
        ("vagent/metadata/http/path.py", "vagent/metadata"),
        ("introspect/pages/flows.py", "introspect"),
    ],
)
def test_a_room_is_a_folder_of_vagent_or_a_package(module: str, room: str) -> None:
    """Rooms within a room are measured together."""
    assert room == room_of(Path(module))


def test_floors_are_read_without_the_comment() -> None:
    """A room and its percent, a line each."""
    assert read_floors(TEXT) == FLOORS


def test_what_is_below_its_floor_is_told() -> None:
    """And a room without a floor, and a floor without its room."""
    found = {"vagent/ports": 89.4, "vagent/store": 50.0}
    assert [
        "vagent/ports: 89.4 % of its branches, and 90 before",
        "vagent/store has no floor; `make coverage` writes it",
        "vagent/web has a floor and is gone; `make coverage` strikes it off",
    ] == list(problems(FLOORS, found))
    assert [] == list(problems(FLOORS, {"vagent/ports": 89.6, "vagent/web": 99.0}))


def test_floors_only_rise() -> None:
    """To the whole percent below; what is new comes, what is gone goes."""
    found = {"vagent/ports": 95.7, "vagent/store": 50.2, "vagent/web": 70.0}
    expected = "# About it.\nvagent/ports 95\nvagent/store 50\nvagent/web 80\n"
    assert expected == raised(TEXT, found)
    assert "# About it.\nvagent/ports 90\n" == raised(TEXT, {"vagent/ports": 10.0})
