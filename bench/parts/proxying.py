"""Part A: requests through the proxy, beside haproxy doing the same work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from bench.clients.load import REPORT, Shape, drive
from bench.report.figures import Column, Part
from bench.report.goals import Goal
from bench.report.pace import Pace
from bench.scene.contestants import UNLIMITED, haproxy, loopback_proxy
from bench.scene.service import start_agent
from bench.scene.stage import GATEWAY, LOOPBACK, NGINX, OPEN_TLS_PORT, Contestant, Stage
from bench.scene.usage import OTHERS, Others, usage
from lab.namespaces import LabError, Machine

COLUMNS = (
    Column("rate", "req/s (min–max)", spread=True),
    Column("p50", "p50 ms", digits=2),
    Column("p99", "p99 ms", digits=2),
    Column("added", "p99 added", digits=2, compare=False),
    Column("cost", "CPU µs/answer (min–max)", digits=1, spread=True),
    Column("busy", "CPU %", compare=False),
    Column("resident", "RSS MiB", digits=1),
    Column("errors", "errors", compare=False),
    OTHERS,
)
OVER_TLS = Column("added-tls", "over nginx by TLS", digits=2, compare=False)
"""As `p99 added`, but to nginx asked over TLS, as the proxy asks it."""
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
OURS, CACHED, HAPROXY = "vagent", "vagent, cached", "haproxy"
OUR_PORT, RIVAL_PORT, CACHED_PORT = 18097, 18197, 18097 + 2
PLAIN_RATIO, TLS_RATIO, EACH_RATIO, CACHED_RATIO = 2.0, 2.5, 3.0, 1.0
"""Goals: how many times haproxy's CPU an answer may cost."""
ADDED = 1.0
"""Goal: milliseconds, by which the 99th percentile is later than without a proxy."""


def measure_alone(stage: Stage, pace: Pace, *, tls: bool) -> Part:
    """The proxy alone against haproxy, both on loopback; beside a plain upstream also
    the proxy that answers from its cache.
    """
    upstream = "mutual TLS" if tls else "plain"
    ratio = TLS_RATIO if tls else PLAIN_RATIO
    goals = (
        *_dearer_than_haproxy(OURS, {SIXTEEN: ratio, SIXTY_FOUR: ratio}),
        *_dearer_than_haproxy(OURS, {EACH: EACH_RATIO}),
        Goal(SIXTEEN.name, OURS, "added", at_most=ADDED),
    )
    contestants = [loopback_proxy(stage, OUR_PORT + tls, NGINX[tls], UNLIMITED)]
    if not tls:
        contestants.append(_caching(stage))
        goals += _dearer_than_haproxy(
            CACHED, {SIXTEEN: CACHED_RATIO, SIXTY_FOUR: CACHED_RATIO}
        )
    part = Part(
        "A",
        f"Proxy alone on loopback, upstream {upstream}: vagent beside haproxy",
        (*COLUMNS[:4], OVER_TLS, *COLUMNS[4:]) if tls else COLUMNS,
        rivals=(HAPROXY,),
        goals=goals,
    )
    contestants.append(haproxy(stage, LOOPBACK, RIVAL_PORT + tls, tls=tls))
    shapes = FEW_SHAPES if pace.quick else SHAPES
    direct = {"added": f"http://{LOOPBACK}:{NGINX[False].port}"}
    if tls:
        direct[OVER_TLS.key] = f"https://{LOOPBACK}:{OPEN_TLS_PORT}"
    take_turns(stage, pace, part, stage.host, contestants, shapes, direct=direct)
    return part


def _caching(stage: Stage) -> Contestant:
    return loopback_proxy(
        stage, CACHED_PORT, NGINX[False], UNLIMITED, "--cache-ttl", "15", name=CACHED
    )


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


def _dearer_than_haproxy(ours: str, limits: Mapping[Shape, float]) -> tuple[Goal, ...]:
    return tuple(
        Goal(shape.name, ours, "cost", at_most=limit, rival=HAPROXY)
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
    direct: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Every shape in every round; `rounds` is a ceiling on how many. `direct` is the
    upstream itself, by column: how much later than from there do answers come?
    """
    for contestant in contestants:
        drive(clients, contestant.origin, SIXTEEN, seconds=1, cpu=stage.cpus.load)
    for number in pace.at_most(rounds or pace.count, part):
        for shape in shapes:
            least = {
                column: drive(
                    clients, origin, shape, seconds=pace.seconds, cpu=stage.cpus.load
                ).p99
                for column, origin in direct.items()
                if shape is SIXTEEN
            }
            for contestant in contestants:
                run = ask(stage, clients, contestant, shape, pace.seconds)
                run |= {column: run["p99"] - p99 for column, p99 in least.items()}
                part.add(shape.name, contestant.name, run)
            pace.show(part, number, shape.name, "rate", "req/s", "cost", "µs")


def ask(
    stage: Stage,
    clients: Machine,
    contestant: Contestant,
    shape: Shape,
    seconds: int,
    script: Path = REPORT,
) -> dict[str, float]:
    """The figures of COLUMNS for one run. Raises LabError without a good answer."""
    others = Others()
    before = usage(*contestant.pids)
    report = drive(
        clients,
        contestant.origin,
        shape,
        seconds=seconds,
        cpu=stage.cpus.load,
        script=script,
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
