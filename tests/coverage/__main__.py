"""`python -m tests.coverage [--raise]`: is a room's branch coverage below its floor?

Reads what `pytest --cov` has measured. Exits 1 when a room is below its floor or has
none; with --raise it writes the floors that are higher now.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

FLOORS = Path(__file__).parent / "floors.txt"
CHECKOUT = Path(__file__).parents[2]
SLACK = 0.5
"""Percent that a room may be below its floor: a branch or two of a small room, which a
change adds where only system tests get."""


def room_of(module: Path) -> str:
    """The room of a module of the product: `vagent/metadata`, `introspect`, or `vagent`
    for the modules that are in none of its rooms.
    """
    parts = module.parent.parts
    return "/".join(parts[:2] if parts[0] == "vagent" else parts[:1])


def measured() -> dict[str, float]:
    """Percent of the branches of each room that were taken."""
    from coverage import Coverage  # `make test` installs it; unit tests do without

    data = Coverage(config_file=str(CHECKOUT / "pyproject.toml"))
    data.load()
    branches: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    # Of files that are there: some tests run code that they made up.
    for path in filter(Path.exists, map(Path, data.get_data().measured_files())):
        room = branches[room_of(path.relative_to(CHECKOUT))]
        for there, taken in data.branch_stats(str(path)).values():
            room[0] += there
            room[1] += taken
    # A room without a branch has none to miss.
    return {
        room: 100.0 * taken / there if there else 100.0
        for room, (there, taken) in sorted(branches.items())
    }


def read_floors(text: str) -> dict[str, int]:
    """Room and percent, a line each."""
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {room: int(percent) for room, percent in lines}


def raised(text: str, found: dict[str, float]) -> str:
    """The floors as they should be: each at what was found, and none lower than it was.
    Rooms that are gone are left out.
    """
    floors = read_floors(text)
    head = [line for line in text.splitlines() if line.startswith("#")]
    rows = [
        f"{room} {max(int(percent), floors.get(room, 0))}"
        for room, percent in found.items()
    ]
    return "\n".join([*head, *rows]) + "\n"


def problems(floors: dict[str, int], found: dict[str, float]) -> Iterator[str]:
    """Rooms below their floor, without one, or gone."""
    for room, percent in found.items():
        if room not in floors:
            yield f"{room} has no floor; `make coverage` writes it"
        elif percent < floors[room] - SLACK:
            yield f"{room}: {percent:.1f} % of its branches, and {floors[room]} before"
    for room in sorted(floors.keys() - found.keys()):
        yield f"{room} has a floor and is gone; `make coverage` strikes it off"


def main(argv: list[str]) -> int:
    """Compare, or raise."""
    found = measured()
    before = FLOORS.read_text(encoding="utf-8")
    if "--raise" in argv:
        FLOORS.write_text(raised(before, found), encoding="utf-8")
    floors = read_floors(FLOORS.read_text(encoding="utf-8"))
    for room, percent in found.items():
        print(f"{room:24} {percent:5.1f} % of its branches (floor {floors.get(room)})")
    wrong = list(problems(floors, found))
    for line in wrong:
        print(f"Branch coverage: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
