"""Part R: what a restart of the agent costs clients that do not repeat a request.

Eight clients of one guest, half of them with a connection for each request; every
fourth answer of the upstream takes half a second. The agent is restarted under them
until they have asked for everything.
"""

from __future__ import annotations

import signal
import sys

from bench.clients.asking import ask, asked
from bench.report.figures import Column, Part, Run
from bench.report.goals import Goal
from bench.report.pace import Pace
from bench.scene.service import METADATA, provision
from bench.scene.stage import Stage
from lab.waiting import holds

COLUMNS = (
    Column("asked", "requests"),
    Column("failed", "failed (min–max)", spread=True),
    Column("longest", "longest wait s", digits=2),
    Column("p50", "p50 ms", digits=1),
    Column("restarts", "restarts"),
)
STOP, KILL = "stop and start", "kill -9 and start"
CASES = {STOP: signal.SIGTERM, KILL: signal.SIGKILL}
GOALS = (
    Goal(STOP, "vagent", "failed", at_most=0.0),
    Goal(STOP, "vagent", "longest", at_most=10.0),
)
REQUESTS, FEW_REQUESTS = 2000, 200
SLOW_PORT = 18779
SLOW_SECONDS = 0.5
BETWEEN = 1.5
"""Seconds from one restart to the next."""
ROUNDS = 1
DEADLINE = 300.0


def measure_restarts(stage: Stage, pace: Pace) -> Part:
    """Clean restarts, and after kill -9."""
    part = Part(
        "R",
        "Restarts under clients that do not repeat a request, a quarter of the answers"
        f" {SLOW_SECONDS * 1000:g} ms late",
        COLUMNS,
        goals=GOALS,
    )
    stage.start(
        "slow",
        stage.cpus.upstream,
        [
            *(sys.executable, "-m", "lab.slow_server", "--port", str(SLOW_PORT)),
            *("--seconds", str(SLOW_SECONDS)),
        ],
    )
    stage.await_port(SLOW_PORT)
    stage.agent.config = stage.agent.config.replace("<use-ssl>true", "<use-ssl>false")
    stage.agent.start()
    stage.agent.register(stage.guest)
    provision(stage, "metadata", METADATA, 80, SLOW_PORT)
    for number in pace.at_most(ROUNDS, part):
        for case, how in CASES.items():
            part.add(case, "vagent", _restart(stage, how, quick=pace.quick))
            pace.show(part, number, case, "failed", "failed", "longest", "s")
    stage.agent.stop()
    return part


def _restart(stage: Stage, how: signal.Signals, *, quick: bool) -> Run:
    most = FEW_REQUESTS if quick else REQUESTS
    clients = ask(stage, stage.guest.machine, "--most", str(most))
    restarts = 0
    while clients.poll() is None:
        stage.agent.stop(how)
        stage.agent.start()
        restarts += 1
        holds(lambda: True, seconds=BETWEEN)
    found = asked(clients, seconds=DEADLINE)
    return {
        "asked": float(found.requests),
        "failed": float(found.failed),
        "longest": found.longest,
        "p50": found.p50 * 1e3,
        "restarts": float(restarts),
    }
