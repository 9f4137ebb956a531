"""Part C: what a port costs, and how soon a restarted agent serves."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import time
import uuid
from collections.abc import Iterable

from bench.figures import Column, Part
from bench.goals import Goal
from bench.pace import Pace
from bench.service import METADATA, pinned, provision
from bench.stage import GUEST, LOOPBACK, TLS_PORT, Stage
from bench.usage import usage
from lab.namespaces import LabError, inside

PORT_API = 9091
FEW, MANY = 10, 1000
ROUNDS = 3
SINGLES = 10
"""Ports attached one by one in each round, and detached again."""
SERVED_DEADLINE = 30.0
ONE_CALL = f"attach {MANY} ports in one call, ms"
RESTART = f"restart to first answer, {MANY} ports, ms"
ATTEMPT = 0.1
"""Seconds that one attempt of the guest may take while the agent is starting."""
ATTACH_FEW = f"attach one port, {FEW} registered, ms"
ATTACH_MANY = f"attach one port, {MANY} registered, ms"
MEMORY = f"RSS, {MANY} ports more, MiB"

COLUMNS = (Column("figure", "median (min–max)", digits=1, spread=True),)
GOALS = (
    Goal(ATTACH_FEW, "", "figure", at_most=20.0),
    Goal(ATTACH_MANY, "", "figure", at_most=20.0),
    Goal(ATTACH_MANY, "", "figure", at_least=0.8, at_most=1.2, rival_case=ATTACH_FEW),
    Goal(ONE_CALL, "", "figure", at_most=1000.0),
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
    many = [_port(number) for number in range(MANY)]
    few = [_port(number) for number in range(MANY, MANY + FEW)]
    singles = [_port(number) for number in range(MANY + FEW, MANY + FEW + SINGLES)]
    _make_taps(stage, [*many, *few, *singles])
    for number in pace.at_most(ROUNDS, part):
        _fresh_agent(stage, few)
        _measure_singles(stage, part, f"one port, {FEW} registered", singles)
        pid = pinned(stage)
        before = usage(pid).resident
        part.add(ONE_CALL, "", {"figure": _add(stage, many)})
        _measure_singles(stage, part, f"one port, {MANY} registered", singles)
        grown = usage(pid).resident - before
        part.add(MEMORY, "", {"figure": grown})
        part.add(RESTART, "", {"figure": _restart(stage)})
        stage.agent.stop()
        for case in (ONE_CALL, RESTART):
            pace.show(part, number, case, "figure", "ms")
    return part


def _fresh_agent(stage: Stage, few: list[dict[str, object]]) -> None:
    shutil.rmtree(stage.agent_folder / "state", ignore_errors=True)
    stage.agent.start()
    stage.agent.register(stage.guest)
    provision(stage, "metadata", METADATA, 80, TLS_PORT)
    _add(stage, few[1:])  # the guest's own port is one of them


def _measure_singles(
    stage: Stage, part: Part, what: str, ports: Iterable[dict[str, object]]
) -> None:
    for port in ports:
        part.add(f"attach {what}, ms", "", {"figure": _add(stage, port)})
        took = _call(stage, "DELETE", f"/port/{port['id']}", "")
        part.add(f"detach {what}, ms", "", {"figure": took})


def _port(number: int) -> dict[str, object]:
    identity = str(uuid.UUID(int=number + 1))
    return {
        "id": identity,
        "instance-id": identity,
        "vn-id": identity,
        "vm-project-id": identity,
        "display-name": f"bench {number}",
        "ip-address": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        "ip6-address": "::",
        "type": 0,
        "system-name": f"tap-{number}",
        "mac-address": f"02:01:00:00:{number >> 8:02x}:{number & 255:02x}",
        "rx-vlan-id": -1,
        "tx-vlan-id": -1,
    }


def _make_taps(stage: Stage, ports: Iterable[dict[str, object]]) -> None:
    lines = (
        f"link add {port['system-name']} type veth peer name peer-{number}\n"
        f"link set {port['system-name']} up"
        for number, port in enumerate(ports)
    )
    stage.host.run("ip", "-batch", "-", text="\n".join(lines) + "\n")


def _add(stage: Stage, ports: object) -> float:
    return _call(stage, "POST", "/port", json.dumps(ports))


def _call(stage: Stage, method: str, path: str, body: str) -> float:
    """Milliseconds of one call of the port API. Raises LabError if it is refused."""
    client = http.client.HTTPConnection(LOOPBACK, PORT_API)
    client.sock = inside(
        stage.host.name, lambda: socket.create_connection((LOOPBACK, PORT_API), 60)
    )
    try:
        began = time.perf_counter()
        client.request(method, path, body)
        answer = client.getresponse()
        said = answer.read()
        took = time.perf_counter() - began
    finally:
        client.close()
    if answer.status != http.client.OK:
        raise LabError(f"{method} {path}: {answer.status} {said[:300]!r}")
    return took * 1e3


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
