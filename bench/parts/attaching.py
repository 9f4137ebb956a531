"""Part C: what a port costs, how soon a restarted agent serves, what flows lose."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Self

from bench.report.figures import Column, Part
from bench.report.goals import Goal
from bench.report.pace import Pace
from bench.scene import ports
from bench.scene.ports import ONE_CALL as MANY
from bench.scene.ports import Port
from bench.scene.service import METADATA, offer, pinned, provision
from bench.scene.stage import GUEST, LOOPBACK, TLS_PORT, Stage
from bench.scene.usage import usage
from lab.agent import SOURCE
from lab.namespaces import LabError, inside
from lab.waiting import wait_for

FEW, MOST = 10, 5000
ROUNDS = 3
SINGLES = 20
"""Ports attached one by one in each round, and detached again."""
SERVED_DEADLINE = 30.0
QUIET_SECONDS = 2.0
"""As long as a restart takes, about."""
ATTEMPT = 0.1
"""Seconds that one attempt of the guest may take while the agent is starting."""


def _attach(registered: int) -> str:
    return f"attach one port, {registered:,} registered, ms"


def _one_call(registered: int) -> str:
    return f"attach {MANY:,} in one call, {registered:,} registered, ms"


MEMORY = f"RSS, {MANY:,} ports more, MiB"
RESTART = f"restart to first answer, {MANY:,} ports, ms"
RESTARTS = {"stop": signal.SIGTERM, "kill -9": signal.SIGKILL}
"""What comes before the start while a flow goes on."""


def _carried(during: str, what: str) -> str:
    return f"a flow, {MANY:,} ports, {during}: {what}"


SENT, LOST, GAP = "datagrams sent", "lost", "longest gap, ms"
QUIET = "no restart"
STREAM_PORT = 5203
STREAM_SERVICE = "169.254.169.252"

COLUMNS = (Column("figure", "median (min–max)", digits=1, spread=True),)
GOALS = (
    *(
        Goal(_attach(registered), "", "figure", at_most=20.0)
        for registered in (FEW, MANY, MOST)
    ),
    *(
        Goal(
            _attach(registered),
            "",
            "figure",
            at_least=0.8,
            at_most=1.2,
            rival_case=_attach(FEW),
        )
        for registered in (MANY, MOST)
    ),
    Goal(_one_call(FEW), "", "figure", at_most=1000.0),
    Goal(_one_call(MOST - MANY), "", "figure", at_most=1000.0),
    Goal(MEMORY, "", "figure", at_most=5.0),
    *(
        Goal(_carried(f"{how} and start", LOST), "", "figure", at_most=0.0)
        for how in RESTARTS
    ),
)


def measure_ports(stage: Stage, pace: Pace) -> Part:
    """With taps that exist, through POST /port, until the kernel has it."""
    part = Part(
        "C",
        "Ports, whose taps exist; a call returns when the kernel serves them",
        COLUMNS,
        goals=GOALS,
    )
    # The guest's own port is the first of the few.
    everyone = [ports.port(number) for number in range(MOST - 1 + SINGLES)]
    few, many = everyone[: FEW - 1], everyone[FEW - 1 : FEW - 1 + MANY]
    rest, singles = everyone[FEW - 1 + MANY : MOST - 1], everyone[MOST - 1 :]
    serve = [
        sys.executable,
        "-m",
        "bench.clients.steady",
        "--serve",
        "--address",
        LOOPBACK,
    ]
    stage.start("steady", stage.cpus.load, [*serve, "--port", str(STREAM_PORT)])
    ports.make_taps(stage, [*few, *many, *singles, *([] if pace.quick else rest)])
    for number in pace.at_most(ROUNDS, part):
        _fresh_agent(stage, few)
        _measure_singles(stage, part, FEW, singles)
        pid = pinned(stage)
        before = usage(pid).resident
        part.add(_one_call(FEW), "", {"figure": ports.add(stage, many)})
        _measure_singles(stage, part, MANY, singles)
        part.add(MEMORY, "", {"figure": usage(pid).resident - before})
        part.add(RESTART, "", {"figure": _restart(stage)})
        _measure_carried(stage, part)
        if not pace.quick:
            stage.await_port(ports.PORT_API)  # guests are served before it listens
            *_, last = ports.add_many(stage, rest)
            part.add(_one_call(MOST - MANY), "", {"figure": last})
            _measure_singles(stage, part, MOST, singles)
        stage.agent.stop()
        for case in (_attach(FEW), _attach(MANY), _one_call(FEW), RESTART):
            pace.show(part, number, case, "figure", "ms")
    return part


def _fresh_agent(stage: Stage, few: Sequence[Port]) -> None:
    stage.forget_state()
    stage.agent.start()
    stage.agent.register(stage.guest)
    provision(stage, "metadata", METADATA, 80, TLS_PORT)
    stream = (STREAM_SERVICE, STREAM_PORT)
    offer(stage, "steady", stream, (LOOPBACK, STREAM_PORT))
    ports.add(stage, few)


def _measure_singles(
    stage: Stage, part: Part, registered: int, singles: Sequence[Port]
) -> None:
    detach = _attach(registered).replace("attach", "detach")
    for port in singles:
        part.add(_attach(registered), "", {"figure": ports.add(stage, port)})
        part.add(detach, "", {"figure": ports.delete(stage, port)})


def _measure_carried(stage: Stage, part: Part) -> None:
    """What a flow that the kernel carries loses, beside the same without a restart."""
    for how in ("", *RESTARTS):
        with _Steady(stage) as steady:
            if how:
                _restart(stage, RESTARTS[how])
                stage.await_port(ports.PORT_API)  # it listens when rules are replaced
            else:
                time.sleep(QUIET_SECONDS)
        during = f"{how} and start" if how else QUIET
        for what, key in ((SENT, "sent"), (LOST, "lost"), (GAP, "longest_gap_ms")):
            part.add(_carried(during, what), "", {"figure": steady.found[key]})


class _Steady:
    """A flow of the guest, while the block runs; `found` says what became of it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.found: dict[str, float] = {}

    def __enter__(self) -> Self:
        where = ("--address", STREAM_SERVICE, "--port", str(STREAM_PORT))
        self._process = self._stage.guest.machine.start(
            [
                *("taskset", "-c", str(self._stage.cpus.load)),
                *(sys.executable, "-m", "bench.clients.steady", *where),
            ],
            cwd=SOURCE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if self._process.stdout is None or not self._process.stdout.readline():
            raise LabError(f"{GUEST}: no datagram comes back from {STREAM_SERVICE}")
        return self

    def __exit__(self, *failure: object) -> None:
        said = self._process.communicate(timeout=SERVED_DEADLINE)[0]
        self.found = json.loads(said)


def _restart(stage: Stage, how: signal.Signals = signal.SIGTERM) -> float:
    """Milliseconds from exec to the first answer that the guest gets."""
    stage.agent.stop(how)
    began = time.perf_counter()
    stage.agent.start(wait=False)
    pinned(stage)
    inside(stage.guest.machine.name, lambda: _await_service(stage))
    return (time.perf_counter() - began) * 1e3


def _await_service(stage: Stage) -> None:
    try:
        wait_for(_is_served, seconds=SERVED_DEADLINE, pause=0.005)
    except LabError as failure:
        said = stage.agent.log.read_text()[-2000:]
        raise LabError(f"{GUEST} is not served; the agent said:\n{said}") from failure


def _is_served() -> bool:
    try:
        with socket.create_connection((METADATA, 80), ATTEMPT) as guest:
            guest.sendall(b"GET / HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
            return b" 200 " in guest.recv(4096).partition(b"\r\n")[0]
    except OSError:
        return False
