"""Drives wrk and reads what it reports. Knows no contestant.

Only 2xx and 3xx answers are good. Everything else is an error and is counted as one:
other statuses, failed connects, reads and writes, and timeouts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lab.namespaces import LabError, Machine

REPORT = Path(__file__).with_name("report.lua")
MARK = "REPORT "
TIMEOUT = "5s"
"""wrk counts an answer later than this as an error."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the clients do; `close` is one connection for each request, `behind` how
    many requests each sends behind one another.
    """

    name: str
    connections: int
    path: str = "/"
    close: bool = False
    behind: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. Times in milliseconds, `seconds` apart."""

    good: int
    errors: int
    seconds: float
    p50: float
    p99: float


def parse(text: str) -> Report:
    """Read wrk's output. Raises LabError if our report is not in it."""
    for line in text.splitlines():
        if line.startswith(MARK):
            told = json.loads(line.removeprefix(MARK))
            return Report(
                good=told["requests"] - told["status"],
                errors=sum(
                    told[kind]
                    for kind in ("status", "connect", "read", "write", "timeout")
                ),
                seconds=told["duration_us"] / 1e6,
                p50=told["p50_us"] / 1e3,
                p99=told["p99_us"] / 1e3,
            )
    raise LabError(f"wrk did not report; it said:\n{text}")


def wrk(
    origin: str, shape: Shape, *, seconds: int, cpu: int, script: Path = REPORT
) -> list[str]:
    """The command that asks `origin` for so long, from this CPU; `script` may say what,
    and reports as ours does.
    """
    header = ["-H", "Connection: close"] if shape.close else []
    return [
        *("taskset", "-c", str(cpu), "wrk", "--threads", "1"),
        *("--connections", str(shape.connections), "--duration", f"{seconds}s"),
        *("--timeout", TIMEOUT, "--script", str(script), *header),
        origin + shape.path,
        *(["--", str(shape.behind)] if shape.behind else []),
    ]


def drive(
    machine: Machine,
    origin: str,
    shape: Shape,
    *,
    seconds: int,
    cpu: int,
    script: Path = REPORT,
) -> Report:
    """Ask `origin` for so long, from this machine and CPU. Raises LabError."""
    command = wrk(origin, shape, seconds=seconds, cpu=cpu, script=script)
    return parse(machine.run(*command))
