"""Part F: what others notice of a guest that floods, beside haproxy in the same flood.

The flood comes over 64 connections, the most that a guest may have, and on each of
them sixteen requests go behind one another at all times. Meanwhile another guest asks
for one document after the other, a connection each, and the host asks the agent how it
is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from bench.clients.asking import ask, asked
from bench.clients.load import Shape, parse, wrk
from bench.report.figures import Column, Part, Run
from bench.report.goals import Goal
from bench.report.pace import Pace
from bench.scene.contestants import haproxy
from bench.scene.service import start_agent
from bench.scene.stage import GATEWAY, UNLIMITED, Contestant, Stage
from bench.scene.usage import OTHERS, Others
from lab.guests import Guest, Wiring

COLUMNS = (
    Column("p50", "other guest p50 ms", digits=2),
    Column("p99", "p99 ms (min–max)", digits=2, spread=True),
    Column("longest", "longest ms", digits=1),
    Column("failed", "failed", compare=False),
    Column("alive50", "/healthz p50 ms", digits=2),
    Column("alive99", "p99 ms", digits=2),
    Column("flood", "flood: answers/s", compare=False),
    Column("refused", "refused", compare=False),
    OTHERS,
)
FLOOD = Shape("flood", 64, behind=16)
QUIET, FLOODED = "no flood", "flood of one guest"
OURS, FREE, HAPROXY = "vagent", "vagent, no limit of rate", "haproxy"
GOALS = (
    Goal(FLOODED, OURS, "p99", at_most=20.0),
    Goal(FLOODED, FREE, "p99", at_most=20.0),
    Goal(FLOODED, OURS, "alive99", at_most=20.0),
)
RIVAL_PORT = 18198
OTHER, OTHER_GATEWAY = "192.0.3.9", "192.0.3.1"
PAUSE = 0.004
"""Seconds between two requests of the other guest: 200 a second."""
PRIORITY = -15
ROUNDS = 3
KEEP_NONE = "<cache-ttl>0</cache-ttl>"


def measure_flood(stage: Stage, pace: Pace) -> Part:
    """The agent as it comes, the agent without its limit of rate, and haproxy."""
    part = Part(
        "F",
        "Another guest, and the agent's /healthz, while one guest floods the proxy over"
        " 64 connections with 16 requests behind one another; upstream mutual TLS",
        COLUMNS,
        rivals=(HAPROXY,),
        goals=GOALS,
    )
    other = stage.lab.guest(
        "other", Wiring.ROUTED, address=f"{OTHER}/24", gateway=OTHER_GATEWAY
    )
    rival = haproxy(stage, GATEWAY, RIVAL_PORT, tls=True)
    cases = (FLOODED,) if pace.quick else (QUIET, FLOODED)
    for number in pace.at_most(ROUNDS, part):
        for name, limits in ((OURS, KEEP_NONE), (FREE, UNLIMITED)):
            with _agent(stage, other, limits) as agent:
                for case in cases:
                    run = _one(stage, other, agent, case, pace.seconds)
                    part.add(case, name, run)
        for case in cases:
            part.add(case, HAPROXY, _one(stage, other, rival, case, pace.seconds))
            pace.show(part, number, case, "p50", "ms", "p99", "ms")
    part.notes.append(
        "The agent as it comes lets a guest make 500 requests a second; what is above"
        " that is refused. haproxy has no limit of rate here."
    )
    return part


@contextmanager
def _agent(stage: Stage, other: Guest, limits: str) -> Iterator[Contestant]:
    """The agent with these limits, both guests registered."""
    before = stage.agent.config
    stage.agent.config = before.replace(UNLIMITED, limits)
    try:
        agent = start_agent(stage)
        stage.agent.register(other)
        stage.check_echo(stage.guest.machine, agent)
        yield agent
        stage.agent.stop()
        stage.forget_state()
    finally:
        stage.agent.config = before


def _one(
    stage: Stage, other: Guest, contestant: Contestant, case: str, seconds: int
) -> Run:
    others = Others()
    flood = _flood(stage, contestant, seconds + 1) if case == FLOODED else None
    host = contestant.origin.removeprefix("http://")
    few = ("--count", "1", "--pause", str(PAUSE), "--seconds", str(seconds))
    guest = ask(
        stage,
        other.machine,
        *("--host", host, "--path", "/", *few),
        priority=PRIORITY,
    )
    alive = None
    if contestant.name != HAPROXY:
        page = ("--host", "127.0.0.1:8085", "--path", "/healthz?")
        alive = ask(stage, stage.host, *page, *few, priority=PRIORITY)
    found = asked(guest, seconds=seconds + 30)
    run = {
        "p50": found.p50 * 1e3,
        "p99": found.p99 * 1e3,
        "longest": found.longest * 1e3,
        "failed": float(found.failed),
        "others": others.percent(),
    }
    if alive is not None:
        told = asked(alive, seconds=30)
        run |= {"alive50": told.p50 * 1e3, "alive99": told.p99 * 1e3}
    if flood is not None:
        said, _ = flood.communicate(timeout=30)
        report = parse(said.decode())
        run["flood"] = report.good / report.seconds
        run["refused"] = float(report.errors)
    return run


def _flood(
    stage: Stage, contestant: Contestant, seconds: int
) -> subprocess.Popen[bytes]:
    argv = wrk(contestant.origin, FLOOD, seconds=seconds, cpu=stage.cpus.load)
    return stage.guest.machine.start(argv, stdout=subprocess.PIPE)
