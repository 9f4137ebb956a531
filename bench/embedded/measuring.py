"""Part N: the embedded metadata server beside a real Nova, and its vendor data."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from bench.clients.crowd import Member, crowd, save
from bench.clients.load import Shape
from bench.embedded import real_nova
from bench.embedded.asking import headers, script
from bench.parts.proxying import COLUMNS, ask
from bench.report.figures import Column, Part, percentile
from bench.report.goals import Goal
from bench.report.pace import Pace
from bench.scene.stage import LOOPBACK, Contestant, Stage
from bench.scene.usage import OTHERS, Others
from lab.agent import SECRET
from lab.namespaces import LabError, inside

OURS = "vagent"
FIRST_PORT = 18710
"""Each server takes the next one; below the ephemeral ports."""
TARGET_PORT = 18790
DOCUMENTS = {
    "meta_data.json": "/openstack/latest/meta_data.json",
    "instance-id": "/latest/meta-data/instance-id",
}
SHAPES = (Shape("keep-alive, 1", 1), Shape("keep-alive, 16", 16))
FEW, MANY, FRESH = 10, 10_000, 40_000
TIMES = 8.0
"""Goal: how many times Nova's requests a second, once it has cached the instance."""
FLAT = 0.9
"""Goal: how many times the requests a second beside few instances those beside many."""
TARGETS, DELAY, LIMIT = 10, 100.0, 150.0
"""Targets, the milliseconds that each takes, and a goal: those of the first answer."""
ANSWER_COLUMNS = (
    Column("p50", "p50 ms", digits=1),
    Column("longest", "longest ms", digits=1),
    Column("calls", "calls for a guest", digits=1, compare=False),
    OTHERS,
)
_BESIDE = tuple(column for column in COLUMNS if column.key != "added")
_KNOWN = "of {}, each known"
_NEW = "of {}, each for the first time"


def measure_embedded(stage: Stage, pace: Pace) -> list[Part]:
    """Requests a second of a warm server, then of one with many guests; vendor data."""
    return [_beside_nova(stage, pace), _many(stage, pace), _vendor_data(stage, pace)]


def _beside_nova(stage: Stage, pace: Pace) -> Part:
    part = Part(
        "N",
        "Embedded metadata server on loopback, one guest: vagent beside a real Nova on"
        f" gunicorn, one worker of {real_nova.THREADS} threads",
        _BESIDE,
        rivals=(real_nova.NOVA,),
        goals=tuple(
            Goal(_case(name, shape), OURS, "rate", at_least=TIMES, rival=real_nova.NOVA)
            for name in DOCUMENTS
            for shape in SHAPES
        ),
    )
    guest = real_nova.GUEST
    contestants = [_server(stage, FIRST_PORT, [guest])]
    if real_nova.is_installed():
        contestants.append(real_nova.start(stage))
    else:
        part.notes.append("Nova is not installed; `make bench` does it.")
    scripts = {
        name: script(stage.folder, name, [guest], path)
        for name, path in DOCUMENTS.items()
    }
    for contestant in contestants:
        ask(stage, stage.host, contestant, SHAPES[-1], 1, scripts["meta_data.json"])
    for number in pace.rounds(part):
        for name in DOCUMENTS:
            for shape in SHAPES:
                case = _case(name, shape)
                for contestant in contestants:
                    run = ask(
                        stage,
                        stage.host,
                        contestant,
                        shape,
                        pace.seconds,
                        scripts[name],
                    )
                    part.add(case, contestant.name, run)
                pace.show(part, number, case, "rate", "req/s", "cost", "µs")
    return part


def _many(stage: Stage, pace: Pace) -> Part:
    """A server is started for each round, as guests are new to it only once. FRESH are
    more than can be asked in a second, so none of them is asked twice.
    """
    counts = (FEW,) if pace.quick else (FEW, MANY, FRESH)
    part = Part(
        "N",
        "Embedded metadata server, one guest after the other, meta_data.json,"
        " 16 connections",
        _BESIDE,
        goals=(
            Goal(
                _KNOWN.format(MANY),
                OURS,
                "rate",
                at_least=FLAT,
                rival_case=_KNOWN.format(FEW),
            ),
            Goal(
                _NEW.format(FRESH),
                OURS,
                "rate",
                at_least=FLAT,
                rival_case=_KNOWN.format(FEW),
            ),
        ),
    )
    ports = iter(range(FIRST_PORT + 1, TARGET_PORT))
    path = DOCUMENTS["meta_data.json"]
    for number in pace.rounds(part):
        for count in counts:
            guests = crowd(count)
            server = _server(stage, next(ports), guests)
            asking = script(stage.folder, f"of-{count}", guests, path)
            run = ask(stage, stage.host, server, SHAPES[-1], 1, asking)
            if run["rate"] < count:  # or some were asked twice
                part.add(_NEW.format(count), OURS, run)
            if count == FRESH:
                stage.end(server)
                continue
            _ask_each(stage, server, asking, count)
            run = ask(stage, stage.host, server, SHAPES[-1], pace.seconds, asking)
            part.add(_KNOWN.format(count), OURS, run)
            pace.show(part, number, _KNOWN.format(count), "rate", "req/s")
            stage.end(server)
    return part


def _ask_each(stage: Stage, server: Contestant, asking: Path, count: int) -> None:
    """Until each guest is known. Each run of wrk begins with the first of them again,
    so the last one has to be as long as all take.
    """
    seconds = 1

    def rate() -> float:
        return ask(stage, stage.host, server, SHAPES[-1], seconds, asking)["rate"]

    while rate() * seconds < count:
        seconds += 1


def _vendor_data(stage: Stage, pace: Pace) -> Part:
    part = Part(
        "N",
        f"Vendor data of {TARGETS} targets that take {DELAY:g} ms each: from a guest's"
        " request to the answer",
        ANSWER_COLUMNS,
        goals=tuple(
            goal
            for kind in ("http", "https")
            for goal in (
                Goal(f"{kind}, first", OURS, "p50", at_most=LIMIT),
                Goal(f"{kind}, again", OURS, "calls", at_most=0),
            )
        ),
    )
    count = 3 if pace.quick else 20
    for position, kind in enumerate(("http", "https")):
        port = TARGET_PORT + position
        _target(stage, port, tls=kind == "https")
        guests = crowd(count * pace.count)
        url = f"{kind}://{LOOPBACK}:{port}"
        server = _server(stage, TARGET_PORT + 5 + position, guests, target=url)
        for number in pace.rounds(part):
            some = guests[(number - 1) * count : number * count]
            for again in ("first", "again"):
                case = f"{kind}, {again}"
                part.add(case, OURS, _answers(stage, server, some, port, kind))
                pace.show(part, number, case, "p50", "ms", "calls", "calls")
    return part


def _case(name: str, shape: Shape) -> str:
    return f"{name}, {shape.connections}"


def _server(
    stage: Stage, port: int, guests: Sequence[Member], *, target: str = ""
) -> Contestant:
    folder = stage.folder / f"embedded-{port}"
    folder.mkdir()
    process = stage.start(
        f"embedded-{port}",
        stage.cpus.contestant,
        [
            *(sys.executable, "-m", "bench.embedded.server", "--port", str(port)),
            *("--folder", str(folder), "--secret", SECRET),
            *("--crowd", str(save(folder / "crowd.json", guests))),
            *("--ca-cert", stage.client_tls()[2]),
            *(
                word
                for number in range(TARGETS if target else 0)
                for word in ("--target", f"{target}/{number}")
            ),
        ],
    )
    stage.await_port(port)
    return Contestant(OURS, f"http://{LOOPBACK}:{port}", (process.pid,))


def _target(stage: Stage, port: int, *, tls: bool) -> None:
    pki = stage.agent_folder / "pki"
    pair = [str(pki / f"metadata-server.{end}") for end in ("crt", "key")]
    stage.start(
        f"target-{port}",
        stage.cpus.upstream,
        [
            *(sys.executable, "-m", "bench.embedded.target", "--port", str(port)),
            *("--delay", str(DELAY), "--counter", str(port + 2)),
            *(["--tls", *pair] if tls else []),
        ],
    )
    stage.await_port(port)


def _answers(
    stage: Stage, server: Contestant, guests: Sequence[Member], port: int, kind: str
) -> dict[str, float]:
    del kind
    others = Others()
    where = server.origin.rpartition("/")[2]
    before = inside(stage.host.name, lambda: _calls(port + 2))
    times = inside(stage.host.name, lambda: [_timed(where, one) for one in guests])
    calls = inside(stage.host.name, lambda: _calls(port + 2)) - before
    return {
        "p50": percentile(times, 50),
        "longest": max(times),
        "calls": calls / len(guests),
        "others": others.percent(),
    }


def _timed(where: str, guest: Member) -> float:
    """Milliseconds until the guest has its vendor data."""
    began = perf_counter()
    content = _get(where, "/openstack/latest/vendor_data2.json", headers(guest))
    if content.count(b"ipaotp") != TARGETS:
        raise LabError(f"not every target answered: {content[:200]!r}")
    return (perf_counter() - began) * 1e3


def _calls(port: int) -> int:
    return int(_get(f"{LOOPBACK}:{port}", "/", {}))


def _get(where: str, path: str, fields: dict[str, str]) -> bytes:
    connection = http.client.HTTPConnection(where, timeout=30)
    try:
        connection.request("GET", path, headers=fields)
        return connection.getresponse().read()
    finally:
        connection.close()
