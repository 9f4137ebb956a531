"""Part D: what the kernel carries to a service elsewhere, beside plain routing.

The same guest asks the same machine of the fabric: through the service address (tap,
identity, NAT by mark), and through nothing but the host's routing table while no agent
runs and no rule is there. In between stands the host with the least rules that
translate both addresses, which tells the price of NAT from that of the way to it. With
the fast path, which is off by default, the goal is asked for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from bench.report.figures import Column, Part, Run
from bench.report.goals import Goal
from bench.report.pace import Pace
from bench.scene.service import offer, start_agent
from bench.scene.stage import GUEST, Stage
from bench.scene.usage import OTHERS, Others, busy_seconds
from lab.agent import SOURCE
from lab.namespaces import LabError, Machine
from vagent.config.model import DataPathConfig

FABRIC, FABRIC_GATEWAY = "198.51.100.2", "198.51.100.1"
SERVICE = "169.254.169.252"
STREAM_PORT, TRIP_PORT = 5201, 5202
DATAGRAM = 1400
"""Bytes of payload: no fragments at an MTU of 1,500."""
NAME = DataPathConfig().name
SECONDS = 1
OURS, BARE, PLAIN = "vagent", "bare NAT", "plain routing"
FAST = "vagent, fast path"
FAST_PATH = "<data-path><fast-path>true</fast-path></data-path>"
WITHIN = 0.95
"""Goal: of plain routing."""
TABLE = f"""
table ip bare {{
  chain there {{
    type nat hook prerouting priority -100;
    ip daddr {SERVICE} dnat to {FABRIC}
  }}
  chain back {{
    type nat hook postrouting priority 100;
    ip saddr {GUEST} masquerade
  }}
}}
"""
COLUMNS = (
    Column("rate", "a second (min–max)", spread=True),
    Column("p50", "p50 µs", digits=1),
    Column("p99", "p99 µs", digits=1),
    Column("cost", "CPU µs each (min–max)", digits=2, spread=True),
    Column("lost", "lost %", digits=1, compare=False),
    OTHERS,
)
STREAM = "TCP stream, MiB"
DATAGRAMS = f"UDP, datagrams of {DATAGRAM} bytes"
TCP_TRIPS, UDP_TRIPS = "TCP round trips", "UDP round trips"
Measure = Callable[[Stage, str], Run]


def measure_carried(stage: Stage, pace: Pace) -> Part:
    """Stream, datagrams and round trips over one flow."""
    part = Part(
        "D",
        "A service elsewhere, carried by the kernel: through tap, identity and NAT"
        " beside plain routing",
        COLUMNS,
        rivals=(PLAIN,),
        goals=tuple(
            Goal(case, FAST, "rate", at_least=WITHIN, rival=PLAIN) for case in CASES
        ),
    )
    fabric = stage.lab.beyond("fabric", f"{FABRIC}/24", FABRIC_GATEWAY)
    stage.host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    _serve(stage, fabric)
    start_agent(stage)
    for name, port in (("stream", STREAM_PORT), ("trip", TRIP_PORT)):
        offer(stage, name, (SERVICE, port), (FABRIC, port))
    _stop(stage)
    for number in pace.twice(part):
        for way in (_through_agent, _by_fast_path, _by_bare_nat, _plainly):
            way(stage, part)
        for case in CASES:
            pace.show(part, number, case, "rate", "/s", "cost", "µs")
    return part


def _through_agent(stage: Stage, part: Part) -> None:
    stage.agent.start()
    _measure(stage, part, OURS, SERVICE)
    _stop(stage)


def _by_fast_path(stage: Stage, part: Part) -> None:
    usual = stage.agent.config
    stage.agent.config = usual.replace("</agent>", f"{FAST_PATH}</agent>")
    stage.agent.start()
    _measure(stage, part, FAST, SERVICE)
    _stop(stage)
    stage.agent.config = usual


def _stop(stage: Stage) -> None:
    """End the agent, and the rules that guard while it is away."""
    stage.agent.stop()
    stage.agent.tool("vagent.ctl", "data-path", "remove", "--name", NAME)


def _by_bare_nat(stage: Stage, part: Part) -> None:
    stage.host.run("nft", "-f", "-", text=TABLE)
    _measure(stage, part, BARE, SERVICE)
    stage.host.run("nft", "delete", "table", "ip", "bare")


def _plainly(stage: Stage, part: Part) -> None:
    _measure(stage, part, PLAIN, FABRIC)


def _measure(stage: Stage, part: Part, contestant: str, address: str) -> None:
    for case, measure in CASES.items():
        part.add(case, contestant, measure(stage, address))


def _serve(stage: Stage, fabric: Machine) -> None:
    cpu = stage.cpus.contestant
    stage.start("iperf3", cpu, ["iperf3", "-s", "-p", str(STREAM_PORT)], on=fabric)
    trips = [sys.executable, "-m", "bench.clients.round_trips", "--serve"]
    stage.start("trips", cpu, [*trips, "--port", str(TRIP_PORT)], on=fabric)
    for port in (STREAM_PORT, TRIP_PORT):
        stage.await_port(port, on=fabric)


class _Meter:
    """CPU seconds of the whole machine from now on, all but what others use."""

    def __init__(self) -> None:
        self._others = Others()
        self._before = busy_seconds()

    def per(self, amount: float) -> Run:
        """The figures of CPU for so many of whatever was done."""
        used = busy_seconds() - self._before - self._others.seconds()
        return {
            "cost": max(0.0, used) / amount * 1e6,
            "others": self._others.percent(),
        }


def _stream(stage: Stage, address: str) -> Run:
    meter = _Meter()
    received = _iperf(stage, address)["sum_received"]
    mebibytes = received["bytes"] / 2**20
    return {"rate": mebibytes / received["seconds"], **meter.per(mebibytes)}


def _datagrams(stage: Stage, address: str) -> Run:
    meter = _Meter()
    options = ("--udp", "--bitrate", "0", "--length", str(DATAGRAM))
    told = _iperf(stage, address, *options)["sum"]
    received = told["packets"] - told["lost_packets"]
    if received <= 0:
        raise LabError(f"no datagram came through to {address}: {told}")
    return {
        "rate": received / told["seconds"],
        "lost": told["lost_percent"],
        **meter.per(received),
    }


def _iperf(stage: Stage, address: str, *options: str) -> dict[str, dict[str, float]]:
    said = stage.guest.machine.run(
        *("taskset", "-c", str(stage.cpus.load), "iperf3", "-c", address, "--json"),
        *("-p", str(STREAM_PORT), "-t", str(SECONDS), *options),
    )
    told: dict[str, dict[str, float]] = json.loads(said)["end"]
    return told


def _tcp_trips(stage: Stage, address: str) -> Run:
    return _trips(stage, address)


def _udp_trips(stage: Stage, address: str) -> Run:
    return _trips(stage, address, "--udp")


def _trips(stage: Stage, address: str, *options: str) -> Run:
    meter = _Meter()
    said = stage.guest.machine.run(
        *("env", f"PYTHONPATH={SOURCE}", "taskset", "-c", str(stage.cpus.load)),
        *(sys.executable, "-m", "bench.clients.round_trips", "--address", address),
        *("--port", str(TRIP_PORT), "--seconds", str(SECONDS), *options),
    )
    told = json.loads(said)
    return {
        "rate": told["trips"] / told["seconds"],
        "p50": told["p50_us"],
        "p99": told["p99_us"],
        **meter.per(told["trips"]),
    }


CASES: dict[str, Measure] = {
    STREAM: _stream,
    DATAGRAMS: _datagrams,
    TCP_TRIPS: _tcp_trips,
    UDP_TRIPS: _udp_trips,
}
