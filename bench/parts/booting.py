"""Part E: many guests that boot at once, beside Neutron's agent.

One round: each guest can boot for the first time once. Everybody gets the same guests,
the same requests and an upstream of its own that has seen none of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

from bench.clients.crowd import Member, crowd, save
from bench.neutron import neutron
from bench.report.figures import Column, Part, Run
from bench.report.pace import Pace
from bench.scene.contestants import loopback_proxy
from bench.scene.stage import LOOPBACK, Contestant, Stage, Upstream
from bench.scene.usage import OTHERS, Others, usage
from lab.agent import SECRET, SOURCE
from lab.namespaces import LabError

GUESTS, FEW_GUESTS = 500, 12
COLD, WARM = 80.0, 1.5
"""Milliseconds that the upstream takes for a guest's first request, and for others."""
FIRST_PORT = 18610
"""Upstream and contestant take one each, every time; below the ephemeral ports."""
STORM_DEADLINE = 300
COLUMNS = (
    Column("seconds", "total s", digits=1),
    Column("whole", "guests booted", compare=False),
    Column("incomplete", "incomplete", compare=False),
    Column("lost", "lost", compare=False),
    Column("p50", "p50 s", digits=2),
    Column("p99", "p99 s", digits=2),
    Column("good", "answers", compare=False),
    Column("repeated", "asked again", compare=False),
    Column("cost", "CPU µs/answer", digits=1),
    Column("resident", "RSS MiB", digits=1),
    OTHERS,
)
Start = Callable[[int, Upstream], Contestant]


def measure_storm(stage: Stage, pace: Pace) -> Part:
    """Over a plain upstream and over mutual TLS."""
    guests = crowd(FEW_GUESTS if pace.quick else GUESTS)
    part = Part(
        "E",
        f"Boot storm: {len(guests)} guests at once, each asks as cloud-init does (28"
        f" requests); upstream {COLD:g} ms for a guest's first, {WARM:g} ms after",
        COLUMNS,
        rivals=(neutron.AGENT, neutron.TUNED, neutron.IN_HAPROXY),
    )
    if not neutron.is_installed():
        part.notes.append("Neutron is not installed; `make bench` does it.")
    pace.say(f"{part.letter}  {part.title}")
    ports = iter(range(FIRST_PORT, FIRST_PORT + 100))
    for tls in (False, True):
        case = "upstream mutual TLS" if tls else "upstream plain"
        for start in _starts(stage, guests, tls=tls):
            upstream = _upstream(stage, Upstream(next(ports), tls), guests)
            contestant = start(next(ports), upstream)
            part.add(case, contestant.name, _boot(stage, contestant, guests))
        pace.show(part, 1, case, "seconds", "s", "whole", "booted")
    part.notes.append(
        "Percentiles are of guests that booted with all they asked for. Incomplete"
        " ones lack a document or the EC2 tree, lost ones have no datasource at all."
    )
    return part


def _starts(stage: Stage, guests: list[Member], *, tls: bool) -> Iterator[Start]:
    yield lambda port, to: loopback_proxy(
        stage, port, to, "--cache-ttl", "15", crowd=guests
    )
    if not neutron.is_installed():
        return
    if not tls:  # over TLS it loses the same guests, and takes a minute for it
        yield lambda port, to: neutron.agent(stage, port, to, crowd=guests)
    yield lambda port, to: neutron.agent(
        stage,
        port,
        to,
        crowd=guests,
        workers=neutron.MANY_WORKERS,
        backlog=neutron.BACKLOG,
    )
    if not tls:
        yield lambda port, to: neutron.in_haproxy(stage, port, to, crowd=guests)


def _upstream(stage: Stage, where: Upstream, guests: list[Member]) -> Upstream:
    pki = stage.agent_folder / "pki"
    names = ("metadata-server.crt", "metadata-server.key", "ca.crt")
    stage.start(
        f"nova-{where.port}",
        stage.cpus.upstream,
        [
            *(sys.executable, "-m", "bench.scene.slow_nova", "--port", str(where.port)),
            *("--crowd", str(stage.everyone(guests)), "--secret", SECRET),
            *("--cold", str(COLD), "--warm", str(WARM)),
            *(["--tls", *(str(pki / name) for name in names)] if where.tls else []),
        ],
    )
    stage.await_port(where.port)
    return where


def _boot(stage: Stage, contestant: Contestant, guests: list[Member]) -> Run:
    asking = save(stage.folder / "storm.json", guests)
    others = Others()
    before = usage(*contestant.pids)
    storm = stage.host.start(
        [
            *("taskset", "-c", str(stage.cpus.load), sys.executable, "-m"),
            *("bench.clients.storm", "--address", LOOPBACK, "--crowd", str(asking)),
            *("--port", contestant.origin.rpartition(":")[2]),
        ],
        cwd=SOURCE,
        stdout=subprocess.PIPE,
    )
    said, _ = storm.communicate(timeout=STORM_DEADLINE)
    if storm.returncode:
        raise LabError(f"{contestant.name}: the storm ended with {storm.returncode}")
    used = usage(*contestant.pids).since(before)
    told = json.loads(said)
    if not told["good"]:
        raise LabError(f"{contestant.name}: no good answer at all: {told}")
    figures = {key: float(told[key]) for key in told if key != "failures"}
    return {
        **figures,
        "cost": used.cpu / told["good"] * 1e6,
        "resident": used.resident,
        "others": others.percent(),
    }
