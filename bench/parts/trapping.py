"""Part B: setting up a connection with the trap, and on the same path without it.

Untrapped means: the agent's own tables, with one rule put before the queue rule that
accepts the packet with the mark which the agent would have given it. At the end, again
with thousands of ports beside the guest's.
"""

from __future__ import annotations

import json
import re
import sys

from bench.report.figures import Column, Part, Run
from bench.report.goals import Goal
from bench.report.pace import Pace
from bench.scene import ports
from bench.scene.service import (
    ACCEPTOR_PORT,
    DIRECT,
    DIRECT_PORT,
    identity_index,
    provision,
    start_agent,
)
from bench.scene.stage import Stage
from bench.scene.usage import OTHERS, Others, usage
from lab.agent import SOURCE
from lab.namespaces import LabError
from vagent.config.model import DataPathConfig
from vagent.datapath.names import NEAR, QUEUE_CHAIN
from vagent.datapath.state import INDEX_BITS, MAX_PORT

COLUMNS = (
    Column("rate", "connections/s (min–max)", spread=True),
    Column("p50", "p50 µs"),
    Column("p99", "p99 µs"),
    Column("agent", "agent CPU µs/packet (min–max)", 1, spread=True, compare=False),
    Column("user", "of it in user code", 1, compare=False),
    Column("all", "CPU µs, all processes", 1),
    Column("errors", "errors", compare=False),
    OTHERS,
)
CASES = {1: "one at a time", 16: "16 at a time"}
PORTS = 5000
CROWDED = f"{CASES[16]}, {PORTS:,} ports"
GOALS = (
    *(
        Goal(case, "trapped", "rate", at_least=0.9, rival="untrapped")
        for case in (*CASES.values(), CROWDED)
    ),
    Goal(CASES[16], "trapped", "user", at_most=25.0),
    *(
        Goal(CROWDED, "trapped", key, at_least=0.8, at_most=1.2, rival_case=CASES[16])
        for key in ("agent", "all")
    ),
)
SECONDS = 1.0
"""Of each run: thousands of connections."""
TABLE = DataPathConfig().name
_HANDLE = re.compile(r"# handle (\d+)")


def measure_trap(stage: Stage, pace: Pace) -> Part:
    """Trapped and untrapped in turns, one at a time and sixteen at a time."""
    part = Part(
        "B",
        "TCP connection set-up from a guest to a listener behind NAT:"
        " trapped beside the same rules without the trap",
        COLUMNS,
        goals=GOALS,
    )
    agent = start_agent(stage)
    provision(stage, "bench", DIRECT, DIRECT_PORT, ACCEPTOR_PORT)
    acceptor = stage.start(
        "acceptor",
        stage.cpus.load,
        [sys.executable, "-m", "bench.clients.acceptor", str(ACCEPTOR_PORT)],
    )
    stage.await_port(ACCEPTOR_PORT)
    mark = f"{_endpoint(stage) | identity_index(stage):#x}"
    pids = (*agent.pids, acceptor.pid)
    _connect(stage, pids, 16, 1)

    def measure(number: int, width: int, case: str) -> None:
        part.add(case, "trapped", _connect(stage, pids, width, SECONDS))
        handle = _untrap(stage, mark)
        part.add(case, "untrapped", _connect(stage, pids, width, SECONDS))
        _trap(stage, handle)
        pace.show(part, number, case, "rate", "/s", "agent", "µs")

    for number in pace.rounds(part):
        for width, case in CASES.items():
            measure(number, width, case)
    if not pace.quick:
        crowd = [ports.port(number) for number in range(PORTS - 1)]
        ports.make_taps(stage, crowd)
        ports.add_many(stage, crowd)
        for number in pace.rounds(part):
            measure(number, 16, CROWDED)
    stage.agent.stop()
    stage.forget_state()
    return part


def _connect(stage: Stage, pids: tuple[int, ...], width: int, seconds: float) -> Run:
    others = Others()
    before = [usage(pid) for pid in pids]
    told = _run_connector(stage, width, seconds)
    used = [usage(pid).since(past) for pid, past in zip(pids, before, strict=True)]
    made = told["connections"]
    if not made:
        said = stage.agent.log.read_text()
        raise LabError(f"no connection was made; the agent said:\n{said}")
    agent = used[0]
    return {
        "rate": made / told["seconds"],
        "p50": told["p50_us"],
        "p99": told["p99_us"],
        "agent": agent.cpu / made * 1e6,
        "user": agent.user / made * 1e6,
        "all": (sum(one.cpu for one in used) + told["cpu"]) / made * 1e6,
        "errors": told["errors"],
        "others": others.percent(),
    }


def _run_connector(stage: Stage, width: int, seconds: float) -> dict[str, float]:
    said = stage.guest.machine.run(
        *("env", f"PYTHONPATH={SOURCE}"),
        *("taskset", "-c", str(stage.cpus.load), sys.executable, "-m"),
        *("bench.clients.connector", DIRECT, str(DIRECT_PORT)),
        *("--width", str(width), "--seconds", str(seconds)),
    )
    told: dict[str, float] = json.loads(said)
    return told


def _endpoint(stage: Stage) -> int:
    """The upper half of the mark that leads to the acceptor."""
    listed = stage.host.run("nft", "list", "map", "inet", TABLE, NEAR)
    found = re.search(rf"(\d+)\s*:\s*127\.0\.0\.1\s*\.\s*{ACCEPTOR_PORT}\b", listed)
    if found is None:
        raise LabError(f"no endpoint at port {ACCEPTOR_PORT} in:\n{listed}")
    return (MAX_PORT - int(found[1])) << INDEX_BITS


def _untrap(stage: Stage, mark: str) -> str:
    said = stage.host.data_path.run(
        *("nft", "--echo", "--handle", "insert", "rule", "ip", TABLE, QUEUE_CHAIN),
        *("meta", "mark", "set", mark, "accept"),
    )
    found = _HANDLE.search(said)
    if found is None:
        raise LabError(f"nft did not tell the handle of the new rule:\n{said}")
    return found[1]


def _trap(stage: Stage, handle: str) -> None:
    stage.host.data_path.run(
        "nft", "delete", "rule", "ip", TABLE, QUEUE_CHAIN, "handle", handle
    )
