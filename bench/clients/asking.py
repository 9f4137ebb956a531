"""Runs the lab's clients that do not repeat a request, as a guest or on the host."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

from bench.report.figures import percentile
from bench.scene.stage import Stage
from lab.agent import SOURCE
from lab.namespaces import LabError, Machine


class Asked(NamedTuple):
    """What came of it. Times in seconds, of answers of 200."""

    requests: int
    failed: int
    p50: float
    p99: float
    longest: float


def ask(
    stage: Stage, machine: Machine, *options: str, priority: int = 0
) -> subprocess.Popen[bytes]:
    """Start them on this machine, on the load generators' CPU. With a priority below 0
    (nice(1)) they do not wait there for others, which would be measured, too.
    """
    return machine.start(
        [
            *("nice", "-n", str(priority), "taskset", "-c", str(stage.cpus.load)),
            *(sys.executable, "-m", "lab.asking", *options),
        ],
        cwd=SOURCE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


def asked(clients: subprocess.Popen[bytes], *, seconds: float) -> Asked:
    """Wait for them to end. Raises LabError where nothing was answered at all."""
    said, _ = clients.communicate(timeout=seconds)
    told = json.loads(said)
    if not told["seconds"]:
        raise LabError(f"no good answer at all: {told['errors']}")
    times = sorted(told["seconds"])
    return Asked(
        told["asked"],
        told["failed"],
        percentile(times, 50),
        percentile(times, 99),
        times[-1],
    )
