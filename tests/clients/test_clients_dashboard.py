"""The dashboard is what Grafana's model knows, and asks for what the agent has."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.real_nova import HERE, INSTALLED
from tests.clients.test_clients_alerts import families
from tests.clients.test_clients_prometheus import METRICS, promtool

pytestmark = pytest.mark.system

DASHBOARD = Path(__file__).parents[2] / "conf" / "grafana" / "vagent.json"
VARIABLES = {"$__rate_interval": "5m", "$job": "vagent", "$instance": ".+"}


def document() -> dict[str, Any]:
    """The dashboard as it stands in the tree."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return found


def lost(mine: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """What is in one and not, or another value, in the other."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for name, value in mine.items():
            yield from lost(value, theirs.get(name), f"{path}/{name}")
    elif isinstance(mine, list) and isinstance(theirs, list):
        if len(mine) != len(theirs):
            yield path
        for number, pair in enumerate(zip(mine, theirs, strict=False)):
            yield from lost(*pair, f"{path}/{number}")
    elif mine != theirs:
        yield path


def expressions() -> list[str]:
    """Every query, with values for Grafana's variables."""
    found = [
        target["expr"]
        for panel in document()["panels"]
        for target in panel.get("targets", ())
    ]
    for name, value in VARIABLES.items():
        found = [one.replace(name, value) for one in found]
    return found


def test_grafana_s_model_knows_all_of_it() -> None:
    """Read into the types of Grafana's foundation SDK and written again, nothing is
    missing and nothing is another value. Panels have their own numbers and places.
    """
    python = INSTALLED / "monitoring" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no {python}: make test-clients installs it")
    command = [python, HERE / "grafana_read.py", DASHBOARD]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    mine = document()
    assert [] == [*lost(mine, json.loads(said))]
    spoiled = {**mine, "pannels": mine["panels"]}
    assert ["/pannels"] == [*lost(spoiled, json.loads(said))]
    panels = mine["panels"]
    assert len(panels) == len({one["id"] for one in panels})
    places = {(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels}
    assert len(panels) == len(places)
    assert all(one["gridPos"]["x"] + one["gridPos"]["w"] <= 24 for one in panels)
    assert all(one["description"] for one in panels if one["type"] != "row")


def test_each_query_is_one(tmp_path: Path) -> None:
    """promtool takes them all, as rules that record."""
    rules = [
        {"record": f"panel:{number}", "expr": one}
        for number, one in enumerate(expressions())
    ]
    assert len(rules) > 30
    file = tmp_path / "queries.json"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert "" == promtool("check", "rules", str(file))


def test_queries_ask_for_what_the_agent_has(town: Any) -> None:
    """Each name is a metric of a running agent."""
    known = families(town.agent.get(METRICS))
    asked = {name for one in expressions() for name in re.findall(r"\bvagent_\w+", one)}
    assert len(asked) > 20
    assert asked <= known, asked - known
