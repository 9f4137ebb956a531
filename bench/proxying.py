"""Part A: requests through the proxy, beside haproxy doing the same work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.contestants import UNLIMITED, haproxy, loopback_proxy
from bench.figures import Column, Part, Run
from bench.goals import Goal
from bench.load import Shape, drive
from bench.pace import Pace
from bench.service import start_agent
from bench.stage import GATEWAY, LOOPBACK, NGINX, Contestant, Stage
from bench.usage import OTHERS, Others, usage
from lab.namespaces import LabError, Machine

COLUMNS = (
    Column("rate", "req/s (min–max)", spread=True),
    Column("p50", "p50 ms", digits=2),
    Column("p99", "p99 ms", digits=2),
    Column("cost", "CPU µs/answer (min–max)", digits=1, spread=True),
    Column("busy", "CPU %", compare=False),
    Column("resident", "RSS MiB", digits=1),
    Column("errors", "errors", compare=False),
    OTHERS,
)
SIXTEEN = Shape("keep-alive, 16", 16)
SIXTY_FOUR = Shape("keep-alive, 64", 64)
EACH = Shape("connection each, 16", 16, close=True)
SHAPES = (
    Shape("keep-alive, 1", 1),
    SIXTEEN,
    SIXTY_FOUR,
    EACH,
    Shape("8 KiB, keep-alive, 16", 16, path="/large"),
)
FEW_SHAPES = (SIXTEEN, EACH)
OUR_PORT, RIVAL_PORT = 18097, 18197
PLAIN_RATIO, TLS_RATIO, EACH_RATIO = 2.0, 2.5, 3.0
"""Goals: how many times haproxy's CPU an answer may cost."""


def measure_alone(stage: Stage, pace: Pace, *, tls: bool) -> Part:
    """The proxy alone against haproxy, both on loopback."""
    upstream = "mutual TLS" if tls else "plain"
    part = Part(
        "A",
        f"Proxy alone on loopback, upstream {upstream}: vagent beside haproxy",
        COLUMNS,
        goals=_dearer_than_haproxy(
            {SIXTY_FOUR: TLS_RATIO if tls else PLAIN_RATIO, EACH: EACH_RATIO}
        ),
    )
    contestants = (
        loopback_proxy(stage, OUR_PORT + tls, NGINX[tls], UNLIMITED),
        haproxy(stage, LOOPBACK, RIVAL_PORT + tls, tls=tls),
    )
    shapes = FEW_SHAPES if pace.quick else SHAPES
    take_turns(stage, pace, part, stage.host, contestants, shapes)
    return part


def measure_whole_path(stage: Stage, pace: Pace) -> Part:
    """From a guest: through tap, trap, NAT and agent; to haproxy without those."""
    part = Part(
        "A2",
        "Whole path from a guest, upstream mutual TLS: tap, identity, trap, NAT, agent;"
        " haproxy is reached through the same tap and nothing else",
        COLUMNS,
    )
    agent = start_agent(stage)
    stage.check_echo(stage.guest.machine, agent)
    rival = haproxy(stage, GATEWAY, RIVAL_PORT + 2, tls=True)
    take_turns(stage, pace, part, stage.guest.machine, (agent, rival), FEW_SHAPES)
    stage.agent.stop()
    return part


def _dearer_than_haproxy(limits: Mapping[Shape, float]) -> tuple[Goal, ...]:
    return tuple(
        Goal(shape.name, "vagent", "cost", at_most=limit, rival="haproxy")
        for shape, limit in limits.items()
    )


def take_turns(
    stage: Stage,
    pace: Pace,
    part: Part,
    clients: Machine,
    contestants: Sequence[Contestant],
    shapes: Iterable[Shape],
    rounds: int | None = None,
) -> None:
    """Every shape in every round; `rounds` is a ceiling on how many."""
    for contestant in contestants:
        drive(clients, contestant.origin, SIXTEEN, seconds=1, cpu=stage.cpus.load)
    for number in pace.at_most(rounds or pace.count, part):
        for shape in shapes:
            for contestant in contestants:
                run = _one(stage, clients, contestant, shape, pace.seconds)
                part.add(shape.name, contestant.name, run)
            pace.show(part, number, shape.name, "rate", "req/s", "cost", "µs")


def _one(
    stage: Stage, clients: Machine, contestant: Contestant, shape: Shape, seconds: int
) -> Run:
    others = Others()
    before = usage(*contestant.pids)
    report = drive(
        clients, contestant.origin, shape, seconds=seconds, cpu=stage.cpus.load
    )
    used = usage(*contestant.pids).since(before)
    if not report.good:
        raise LabError(f"{contestant.name}, {shape.name}: no good answer at all")
    return {
        "rate": report.good / report.seconds,
        "p50": report.p50,
        "p99": report.p99,
        "cost": used.cpu / report.good * 1e6,
        "busy": used.cpu / report.seconds * 100,
        "resident": used.resident,
        "errors": float(report.errors),
        "others": others.percent(),
    }
