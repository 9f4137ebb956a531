"""The benchmark runs from end to end: what it reports, not what it finds."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from bench.__main__ import PARTS, PROGRAMS
from bench.embedded import real_nova
from bench.neutron import neutron
from bench.report.goals import MET, MISSED, UNKNOWN
from bench.scene.stage import PREFIX
from lab.agent import SOURCE
from lab.namespaces import PATIENCE, run

MISSING = [
    name
    for name in PROGRAMS
    if not shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
]
# Not marked `system`: the other kernel's disk has none of the rivals.
pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(
        bool(MISSING), reason=f"{MISSING} not installed; make test does it"
    ),
]
DEADLINE = 600.0 * PATIENCE
"""Seconds for a quick run; it takes one or two minutes, Neutron's part included."""
CONTESTANTS = {
    "A": {"vagent", "vagent, cached", "haproxy"},
    "A3": {"vagent", "vagent, cached"},
    "A2": {"vagent", "haproxy"},
    "B": {"trapped", "untrapped"},
    "C": {""},
    "D": {"vagent", "vagent, fast path", "bare NAT", "plain routing"},
    "E": {"vagent"},
    "F": {"vagent", "vagent, no limit of rate", "haproxy"},
    "R": {"vagent"},
    "N": {"vagent"},
    "M": {"vagent"},
}
OF_NEUTRON = {
    "A3": {neutron.AGENT, neutron.IN_HAPROXY},
    "E": {neutron.AGENT, neutron.TUNED, neutron.IN_HAPROXY},
}


@dataclass(frozen=True)
class Ran:
    """A run that has ended: its process, and what it wrote down."""

    pid: int
    results: dict[str, Any]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One quick run of all parts."""
    file = tmp_path_factory.mktemp("bench") / "results.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "--quick", "--results", str(file)],
        cwd=SOURCE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=DEADLINE)
    finally:
        process.terminate()
        process.wait()
    assert 0 == process.returncode, said
    return Ran(process.pid, json.loads(file.read_text()))


@pytest.fixture
def results(ran: Ran) -> dict[str, Any]:
    """What it wrote down."""
    return ran.results


def test_every_part_has_its_contestants(results: dict[str, Any]) -> None:
    """Neutron's too, which `make test` installs; without it the part says so."""
    found: dict[str, set[str]] = {}
    for part in results["parts"]:
        met = found.setdefault(part["part"], set())
        met |= {result["contestant"] for result in part["results"]}
        if part["part"] in OF_NEUTRON and not neutron.is_installed():
            assert any("Neutron is not installed" in note for note in part["notes"])
    expected = {
        part: names | (OF_NEUTRON.get(part, set()) if neutron.is_installed() else set())
        for part, names in CONTESTANTS.items()
    }
    if real_nova.is_installed():
        expected["N"].add(real_nova.NOVA)
    assert set(PARTS) == set(CONTESTANTS)
    assert expected == found


def test_every_figure_is_a_number_with_its_runs(results: dict[str, Any]) -> None:
    """One run each in a quick round, more where a round measures many times."""
    figures = [
        (part["part"], result["case"], key, figure)
        for part in results["parts"]
        for result in part["results"]
        for key, figure in result["figures"].items()
    ]
    assert figures
    for *where, figure in figures:
        assert figure["runs"], where
        assert all(math.isfinite(value) for value in figure["runs"]), where
        assert figure["min"] <= figure["median"] <= figure["max"], where


def test_every_goal_has_a_verdict(results: dict[str, Any]) -> None:
    """And is about a figure of its part; a quick run leaves some cases out."""
    goals = [goal for part in results["parts"] for goal in part["goals"]]
    assert {MET, MISSED, UNKNOWN} >= {goal["verdict"] for goal in goals}
    for goal in goals:
        assert (goal["value"] is None) == (goal["verdict"] == UNKNOWN), goal
    judged = {
        part["part"]
        for part in results["parts"]
        if any(goal["value"] is not None for goal in part["goals"])
    }
    assert {"A", "B", "C", "D", "F", "R", "M"} <= judged


def test_the_machine_and_the_method_are_told(results: dict[str, Any]) -> None:
    """Figures without them say nothing."""
    assert {"machine", "programs", "method", "pinned"} == set(results["about"])
    assert "1 rounds, 1 s each run" in results["about"]["method"]


def test_nothing_is_left_behind(ran: Ran) -> None:
    """No namespace, hence no process in one."""
    assert f"{PREFIX}-{ran.pid}-" not in run("ip", "netns", "list")
