"""Ports of guests that nobody runs: taps that exist, and calls of the port API."""

from __future__ import annotations

import http.client
import json
import socket
import time
import uuid
from collections.abc import Sequence

from bench.scene.stage import LOOPBACK, Stage
from lab.namespaces import LabError, inside

PORT_API = 9091
ONE_CALL = 1000
"""Ports of one call."""

Port = dict[str, object]


def port(number: int) -> Port:
    """The one with this number, as the port API takes it."""
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


def make_taps(stage: Stage, ports: Sequence[Port]) -> None:
    """Their taps, as far as they are not there from another part."""
    there = {name for _, name in inside(stage.host.name, socket.if_nameindex)}
    lines = "".join(
        f"link add {each['system-name']} type veth peer name"
        f" peer-{each['system-name']}\nlink set {each['system-name']} up\n"
        for each in ports
        if each["system-name"] not in there
    )
    stage.host.run("ip", "-batch", "-", text=lines)


def add(stage: Stage, ports: Port | Sequence[Port]) -> float:
    """Milliseconds to register them, and for the kernel to serve them."""
    return call(stage, "POST", "/port", json.dumps(ports))


def add_many(stage: Stage, ports: Sequence[Port]) -> list[float]:
    """The same for each thousand of them."""
    return [
        add(stage, ports[start : start + ONE_CALL])
        for start in range(0, len(ports), ONE_CALL)
    ]


def delete(stage: Stage, port: Port) -> float:
    """Milliseconds to take one out."""
    return call(stage, "DELETE", f"/port/{port['id']}", "")


def call(stage: Stage, method: str, path: str, body: str) -> float:
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
