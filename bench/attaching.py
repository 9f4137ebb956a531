"""Part C: what a port costs, and how soon a restarted agent serves."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from bench import ports
from bench.figures import Column, Part
from bench.goals import Goal
from bench.pace import Pace
from bench.ports import ONE_CALL as MANY
from bench.ports import Port
from bench.service import METADATA, pinned, provision
from bench.stage import GUEST, TLS_PORT, Stage
from bench.usage import usage
from lab.namespaces import LabError, inside

FEW, MOST = 10, 5000
ROUNDS = 3
SINGLES = 20
"""Ports attached one by one in each round, and detached again."""
SERVED_DEADLINE = 30.0
ATTEMPT = 0.1
"""Seconds that one attempt of the guest may take while the agent is starting."""


def _attach(registered: int) -> str:
    return f"attach one port, {registered:,} registered, ms"


def _one_call(registered: int) -> str:
    return f"attach {MANY:,} in one call, {registered:,} registered, ms"


MEMORY = f"RSS, {MANY:,} ports more, MiB"
RESTART = f"restart to first answer, {MANY:,} ports, ms"

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
    ports.add(stage, few)


def _measure_singles(
    stage: Stage, part: Part, registered: int, singles: Sequence[Port]
) -> None:
    detach = _attach(registered).replace("attach", "detach")
    for port in singles:
        part.add(_attach(registered), "", {"figure": ports.add(stage, port)})
        part.add(detach, "", {"figure": ports.delete(stage, port)})


def _restart(stage: Stage) -> float:
    """Milliseconds from exec to the first answer that the guest gets."""
    stage.agent.stop()
    began = time.perf_counter()
    stage.agent.start(wait=False)
    pinned(stage)
    inside(stage.guest.machine.name, lambda: _await_service(stage))
    return (time.perf_counter() - began) * 1e3


def _await_service(stage: Stage) -> None:
    end = time.monotonic() + SERVED_DEADLINE
    while not _is_served():
        if time.monotonic() > end:
            said = stage.agent.log.read_text()[-2000:]
            raise LabError(f"{GUEST} is not served; the agent said:\n{said}")
        time.sleep(0.005)


def _is_served() -> bool:
    try:
        with socket.create_connection((METADATA, 80), ATTEMPT) as guest:
            guest.sendall(b"GET / HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
            return b" 200 " in guest.recv(4096).partition(b"\r\n")[0]
    except OSError:
        return False
