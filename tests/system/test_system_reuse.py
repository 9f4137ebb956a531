"""A guest on a used tap, MAC and address inherits nothing of the one before it."""

from __future__ import annotations

import http.client
import json
import select
import socket
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from lab.agent import PROVISION, RunningAgent
from lab.guests import Guest, Wiring
from lab.namespaces import PATIENCE, inside
from lab.waiting import wait_for
from vagent.datapath.flows.reader import kernel_dump
from vagent.datapath.state import INDEX_MASK
from vagent.kernel.conntrack import encode_dump
from vagent.kernel.namespace import OwnNetwork

pytestmark = pytest.mark.system

LOOPS = round(1000 / PATIENCE**2)
"""Generations of guests: some 40 a second, and 20 times fewer under emulation."""
DEADLINE = 10.0 * PATIENCE
METADATA, ECHO = ("169.254.169.254", 80), ("169.254.1.7", 7)
CONFIG = """<agent>
  <state-directory>{folder}/state</state-directory>
  <runtime-directory>{folder}/run</runtime-directory>
  <metadata-proxy>
    <shared-secret>secret</shared-secret>
    <cache-ttl>600</cache-ttl>
    <session-tokens>optional</session-tokens>
    <guest-request-rate>0.01</guest-request-rate>
    <guest-request-burst>11</guest-request-burst>
    <max-guest-connections>4</max-guest-connections>
  </metadata-proxy>
  <linklocal-flows><max-vm-flows>7</max-vm-flows></linklocal-flows>
  <data-path><identity-range>169.254.64.0/24</identity-range></data-path>
</agent>
"""
"""Small enough that each number is given four times, and that what a guest has used up
would be too little for the next: none uses more than half of anything."""
UPSTREAM = """
import http.server, itertools
numbers = itertools.count()
class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        told = f"{self.headers['X-Instance-ID']} {next(numbers)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8775), Upstream).serve_forever()
"""


class Ports:
    """The port API, over one connection."""

    def __init__(self, site: Any) -> None:
        self._client = http.client.HTTPConnection("127.0.0.1", 9091)
        self._client.sock = inside(
            site.lab.host.name,
            lambda: socket.create_connection(("127.0.0.1", 9091), DEADLINE),
        )

    def call(self, method: str, path: str, body: object = None) -> Any:
        """What the answer says; it is 200."""
        self._client.request(method, path, json.dumps(body))
        answer = self._client.getresponse()
        said = answer.read()
        assert http.client.OK == answer.status, said
        return json.loads(said)

    def close(self) -> None:
        """Hang up."""
        self._client.close()


@dataclass(slots=True)
class Generation:
    """One guest, with what it leaves open when it goes."""

    where: Guest
    port_id: str
    instance_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    identity: str = ""
    index: int = 0
    token: bytes = b""
    open: list[socket.socket] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        """What is registered."""
        return {
            "id": self.port_id,
            "instance-id": self.instance_id,
            "vn-id": self.port_id,
            "vm-project-id": self.instance_id,
            "display-name": "",
            "ip-address": self.where.address,
            "ip6-address": "None",
            "mac-address": self.where.mac,
            "system-name": self.where.tap,
            "type": 0,
            "rx-vlan-id": -1,
            "tx-vlan-id": -1,
        }

    def appear(self, ports: Ports) -> None:
        """Be registered."""
        ports.call("POST", "/port", self.body())
        self.identity = ports.call("GET", f"/port/{self.port_id}")["mdata-ip"]
        self.index = int(self.identity.rpartition(".")[2])

    def connect(self, where: tuple[str, int]) -> socket.socket:
        """One more connection, left open."""
        made = inside(
            self.where.machine.name, lambda: socket.create_connection(where, DEADLINE)
        )
        self.open.append(made)
        return made

    def knock(self) -> None:
        """Send something on each connection that is not dead already."""
        for each in self.open:
            with suppress(OSError):
                each.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    def close(self) -> None:
        """Its machine is gone."""
        for each in self.open:
            each.close()


def asked(connection: socket.socket, *lines: str, method: str = "GET") -> bytes:
    """Status and body of one exchange: for a token, or for a document that is kept."""
    path = "/latest/api/token" if method == "PUT" else "/latest/meta-data/instance-id"
    head = (f"{method} {path} HTTP/1.1", "Host: a", *lines, "", "")
    connection.sendall("\r\n".join(head).encode())
    answer = http.client.HTTPResponse(connection, method=method)
    answer.begin()
    return b"%d %b" % (answer.status, answer.read())


def live(made: Generation, before: Generation | None) -> None:
    """Use everything there is, and find nothing of the guest before."""
    metadata = made.connect(METADATA)
    first = asked(metadata)
    assert first.startswith(f"200 {made.instance_id} ".encode())
    assert first == asked(metadata), "the reply was not kept"
    if before is not None:
        shown = f"X-aws-ec2-metadata-token: {before.token.decode()}"
        assert b"401 " == asked(metadata, shown)
    ttl = "X-aws-ec2-metadata-token-ttl-seconds: 600"
    made.token = asked(metadata, ttl, method="PUT").removeprefix(b"200 ")
    shown = f"X-aws-ec2-metadata-token: {made.token.decode()}"
    assert first == asked(metadata, shown)
    echo = made.connect(ECHO)
    echo.sendall(b"hello")
    assert b"HELLO" == echo.recv(100)
    made.connect(METADATA)


def is_dead(connection: socket.socket) -> bool:
    """Has it no answer, whatever it was sent?"""
    if not select.select([connection], [], [], 0)[0]:
        return True
    try:
        return b"" == connection.recv(1000)
    except OSError:
        return True


def flows_of(site: Any, index: int) -> list[Any]:
    """What the kernel carries for this number."""
    question = encode_dump(family=socket.AF_UNSPEC, mark=index, mask=INDEX_MASK)
    return inside(
        site.agent.data_path.name,
        lambda: list(kernel_dump(OwnNetwork(), question, clock=time.monotonic)),
    )


@pytest.fixture
def taps(idle_site: Any) -> tuple[Any, list[Guest]]:
    """A site, and two taps on two bridges whose guests have one MAC and address."""
    site = idle_site
    site.agent = RunningAgent(site.lab, site.folder, CONFIG.format(folder=site.folder))
    site.agent.start()
    site.agent.tool(*PROVISION)
    site.serve_echo()
    site.start_on_host([sys.executable, "-c", UPSTREAM])
    wait_for(lambda: ":8775" in site.lab.host.run("ss", "-ltn"))
    return site, [
        site.lab.guest(
            name,
            Wiring.BRIDGED,
            address="10.0.0.5/24",
            gateway="10.0.0.1",
            bridge=bridge,
            mac="02:00:00:00:00:05",
        )
        for name, bridge in (("alice", "blue"), ("bob", "green"))
    ]


def successor(
    ports: Ports, old: Generation, number: int, taps: list[Guest]
) -> Generation:
    """The next guest takes the place: on the same tap, after a deletion or in one call
    under the same port, or with its MAC and address on another tap.
    """
    if number % 3 == 0:
        new = Generation(old.where, old.port_id)
    else:
        ports.call("DELETE", f"/port/{old.port_id}")
        where = taps[(number // 3) % 2] if number % 3 == 1 else old.where
        new = Generation(where, str(uuid.uuid4()))
    new.appear(ports)
    return new


def test_a_thousand_guests_in_one_place(taps: tuple[Any, list[Guest]]) -> None:
    """Each has an identity that was free, its own answers, a full share of flows and
    requests; its predecessor's connections, flows, kept replies and token are dead.
    """
    site, places = taps
    ports = Ports(site)
    now = Generation(places[0], str(uuid.uuid4()))
    now.appear(ports)
    live(now, None)
    for number in range(1, LOOPS):
        before, now = now, successor(ports, now, number, places)
        assert before.identity != now.identity
        before.knock()
        live(now, before)
        # What was sent before the successor's questions would be answered by now.
        assert [True] * 3 == [is_dead(each) for each in before.open]
        assert [] == flows_of(site, before.index)
        before.close()
    now.close()
    ports.close()
