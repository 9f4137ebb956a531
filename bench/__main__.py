"""Measures vagent beside rivals, in one run, and prints the ratios.

A   the metadata proxy alone beside haproxy doing the same work: same upstream (nginx),
    static identity headers, plain and over mutual TLS
A2  the whole path of a guest (tap, identity, trap, NAT, agent) beside haproxy reached
    through the same tap
A3  the metadata proxy alone beside Neutron's metadata agent, and beside the haproxy of
    its newer kind that needs no agent
B   setting up TCP connections from a guest through the trap, beside the same kernel
    rules without it; CPU of the agent for each trapped packet
C   attaching ports at 10 and at 1,000 registered, 1,000 in one call, memory of 1,000,
    and restart to the first answer
D   a service elsewhere: stream, datagrams and round trips that the kernel carries,
    beside plain routing between the same namespaces
E   a boot storm: 500 guests at once, each asking as cloud-init does, beside Neutron's
F   a flood: what another guest and /healthz notice of one guest's, beside haproxy
R   restarts under clients that do not repeat a request: how many fail
N   the embedded metadata server alone beside a real Nova on gunicorn, one worker; with
    many guests; the time that vendor data of ten slow targets take
M   memory of the agent: started, serving, with 1,000 idle connections of guests

Contestants take turns within each round; a figure is the median of all rounds, with
the least and the greatest beside it. Load generators, upstream and contestants are
pinned to CPUs, the same for each; a warm-up comes first. Only 2xx and 3xx answers are
good, and CPU is that of the contestant for each good answer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench.embedded.measuring import measure_embedded
from bench.parts.attaching import measure_ports
from bench.parts.booting import measure_storm
from bench.parts.carrying import measure_carried
from bench.parts.flooding import measure_flood
from bench.parts.memory import measure_memory
from bench.parts.proxying import measure_alone, measure_whole_path
from bench.parts.racing_neutron import measure_beside_neutron
from bench.parts.restarting import measure_restarts
from bench.parts.trapping import measure_trap
from bench.report.figures import Part, as_json
from bench.report.goals import MET, MISSED, UNKNOWN
from bench.report.pace import Pace
from bench.report.table import render
from bench.scene.stage import Cpus, Stage
from bench.scene.usage import OTHERS
from lab.namespaces import LabError, run

RESULTS = Path(__file__).with_name("results.json")
PROGRAMS = ("haproxy", "nginx", "wrk", "nft", "ip", "taskset", "curl", "iperf3")
LOCK = "\0vagent-bench"
"""Abstract socket: the kernel frees it however we end."""
NOISY = 20.0
"""Per cent of one CPU, used by others, from which on the table warns."""
EPILOG = """\
Needs root, haproxy, iperf3, nginx and wrk, and Neutron and Nova for their rows;
`make bench` installs them. Takes about 18 minutes. Figures of different machines do not
compare; ratios do, more or less. On a machine that does other work, trust CPU per
answer more than requests per second.
"""
ENDING = (signal.SIGTERM, signal.SIGHUP)
DONE, FAILED, UNAVAILABLE, NO_PERMISSION = 0, 1, 69, 77

Measure = Callable[[Stage, Pace], list[Part]]

PARTS: dict[str, Measure] = {
    "A": lambda stage, pace: [
        measure_alone(stage, pace, tls=False),
        measure_alone(stage, pace, tls=True),
    ],
    "A3": lambda stage, pace: [
        measure_beside_neutron(stage, pace, tls=False),
        measure_beside_neutron(stage, pace, tls=True),
    ],
    "A2": lambda stage, pace: [measure_whole_path(stage, pace)],
    "B": lambda stage, pace: [measure_trap(stage, pace)],
    "C": lambda stage, pace: [measure_ports(stage, pace)],
    "D": lambda stage, pace: [measure_carried(stage, pace)],
    "E": lambda stage, pace: [measure_storm(stage, pace)],
    "F": lambda stage, pace: [measure_flood(stage, pace)],
    "R": lambda stage, pace: [measure_restarts(stage, pace)],
    "N": measure_embedded,
    "M": lambda stage, pace: [measure_memory(stage, pace)],
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; the exit code."""
    options = _parser().parse_args(argv)
    refused = _cannot_run()
    if refused is not None:
        print(f"make bench: {refused[1]}", file=sys.stderr)
        return refused[0]
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(LOCK)
    except OSError:
        print("make bench: runs already; two would spoil each other", file=sys.stderr)
        return UNAVAILABLE
    for number in ENDING:
        signal.signal(number, _leave)
    try:
        _run(options)
    except LabError as failure:
        print(f"make bench: {failure}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nmake bench: interrupted; everything is taken away", file=sys.stderr)
        return 128 + signal.SIGINT
    return DONE


def _leave(*_: object) -> None:
    """Once: a second signal must not interrupt what takes everything away."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
    )
    parser.add_argument(
        "--only",
        type=_parts,
        default=list(PARTS),
        metavar="PARTS",
        help="parts to measure, with commas: --only A,B",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round of one second each, fewer cases, within two minutes:"
        " to see that it works",
    )
    parser.add_argument(
        "--rounds", type=_positive, help="rounds (default 5; --quick 1)"
    )
    parser.add_argument(
        "--seconds", type=_positive, help="of each run (default 2; --quick 1)"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="FILE",
        help="where every run goes (default: %(default)s)",
    )
    return parser


def _parts(text: str) -> list[str]:
    wanted = [part.strip().upper() for part in text.split(",")]
    unknown = [part for part in wanted if part not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"got {', '.join(unknown)}; allowed: {', '.join(PARTS)}"
        )
    return [part for part in PARTS if part in wanted]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {number}; allowed: 1 or more")
    return number


def _cannot_run() -> tuple[int, str] | None:
    if os.geteuid() != 0:
        return NO_PERMISSION, "needs root, for network namespaces and NFQUEUE"
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return UNAVAILABLE, f"missing programs: {', '.join(missing)}"
    return None


def _run(options: argparse.Namespace) -> None:
    pace = Pace(
        count=options.rounds or (1 if options.quick else 5),
        seconds=options.seconds or (1 if options.quick else 2),
        quick=options.quick,
    )
    cpus = Cpus.of(list(os.sched_getaffinity(0)))
    about = _about(cpus, pace)
    for line in about.values():
        print(line)
    print()
    folder = Path(tempfile.mkdtemp(prefix="vagent-bench-"))
    parts: list[Part] = []
    try:
        for name in options.only:
            parts += _measured(name, folder / name, cpus, pace)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print()
    for part in parts:
        _note_noise(part)
        print(render(part))
    pace.say(_tally(parts))
    document = {"about": about, "parts": [as_json(part) for part in parts]}
    options.results.write_text(json.dumps(document, indent=1) + "\n")
    pace.say(f"all runs with their ranges are in {options.results}")


def _measured(name: str, folder: Path, cpus: Cpus, pace: Pace) -> list[Part]:
    """Each on a stage of its own: taps and ports of one weigh on no other."""
    folder.mkdir()
    stage = Stage(folder, cpus)
    try:
        stage.upstream()
        return PARTS[name](stage, pace)
    finally:
        stage.close()


def _note_noise(part: Part) -> None:
    """Say so where the machine was not ours alone."""
    spreads = [result.spread(OTHERS.key) for result in part.results]
    worst = max((spread.median for spread in spreads if spread), default=0.0)
    if worst > NOISY:
        part.notes.append(
            f"Other programs used up to {worst:.0f} % of a CPU meanwhile: requests per"
            " second and latencies say little, CPU per answer and ratios more."
        )


def _tally(parts: Iterable[Part]) -> str:
    """How many goals were reached."""
    words = [verdict.word for part in parts for verdict in part.verdicts()]
    told = ", ".join(f"{words.count(word)} {word}" for word in (MET, MISSED, UNKNOWN))
    return f"goals: {told}"


def _about(cpus: Cpus, pace: Pace) -> dict[str, str]:
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "machine": f"{os.cpu_count()} x {model}, Linux {platform.release()},"
        f" load average before {load}",
        "programs": f"Python {platform.python_version()},"
        f" {run('haproxy', '-v').splitlines()[0].partition(' - ')[0]}",
        "method": f"{pace.count} rounds, {pace.seconds} s each run, contestants in"
        " turns; median (min–max)",
        "pinned": f"contestants to CPU {cpus.contestant}, upstream to CPU"
        f" {cpus.upstream}, load generators to CPU {cpus.load}",
    }


if __name__ == "__main__":
    sys.exit(main())
