"""The port REST API for real: sockets, a journal on disk, kill -9, vagentctl."""

from __future__ import annotations

import http.client
import io
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.small_disk import SmallDisk, small_disk
from vagent.ctl import command_line as ctl

PROCESS = Path(__file__).with_name("port_api_process.py")
VM = "32d0524b-314d-4594-b3a3-607e3f2354f8"
PORT = "93c2c386-6e79-485e-bfa4-b9daa713133b"


def port_object(n: int, **members: Any) -> dict[str, Any]:
    return {
        "id": f"00000000-0000-0000-0000-{n:012x}",
        "instance-id": f"11111111-0000-0000-0000-{n:012x}",
        "vn-id": "12345678-1234-1234-1234-123456789abc",
        "vm-project-id": "00112233445566778899aabbccddeeff",
        "display-name": f"guest {n}",
        "ip-address": f"10.0.{n // 250}.{n % 250 + 1}",
        "ip6-address": "None",
        "mac-address": f"02:00:00:00:{n // 256:02x}:{n % 256:02x}",
        "system-name": f"tap{n}",
        "type": 0,
        "rx-vlan-id": -1,
        "tx-vlan-id": -1,
        **members,
    }


class Agent:
    """The process, and how to talk to it."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self.log = log
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROCESS), str(self.folder)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.port = int(line)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate(timeout=10)
            self.process = None

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"content-type": "application/json"})
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply.status, reply.reason, content

    def ctl(self, *argv: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        url = f"http://127.0.0.1:{self.port}"
        code = ctl.main([*argv, "--port-api", url], stdout=out, stderr=err)
        return code, out.getvalue(), err.getvalue()

    def identities(self) -> dict[str, str]:
        listed = json.loads(self.call("GET", "/ports")[2])
        return {each["id"]: each["mdata-ip"] for each in listed}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """A fresh one, running."""
    agent = Agent(tmp_path / "ports", tmp_path / "log")
    agent.start()
    yield agent
    agent.kill()


def test_the_life_of_a_port_with_vagentctl(agent: Agent) -> None:
    """add, list, show, del: what an operator types. (Contrail: Port_Add_Del.)"""
    code, out, err = agent.ctl(
        "port", "add", "--uuid", PORT, "--instance", VM, "--tap", "tap1",
        "--mac", "02:00:00:00:00:01", "--ip", "10.0.0.5", "--name", "wéb",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "169.254.64.2" in out
    assert (agent.folder / PORT).exists()
    listed = agent.ctl("port", "list")[1].splitlines()
    assert listed[1].split()[:4] == [PORT, "wéb", "tap1", "10.0.0.5"]
    shown = json.loads(agent.ctl("port", "show", PORT, "-o", "json")[1])
    assert shown["display-name"] == "wéb"
    assert agent.ctl("port", "del", PORT) == (0, "", "")
    assert not (agent.folder / PORT).exists()
    assert agent.ctl("port", "show", PORT)[0] == 1
    code, _out, err = agent.ctl(
        "port", "add", "--instance", VM, "--tap", "tap 1", "--mac", "02:00:00:00:00:01"
    )
    assert (code, "<system-name>" in err) == (1, True)


def test_ports_and_identities_survive_kill_9(agent: Agent) -> None:
    """The moment that a caller has its 200, a crash loses nothing."""
    for n in range(5):
        assert agent.call("POST", "/port", port_object(n + 1))[0] == 200
    agent.call("DELETE", f"/port/{port_object(1)['id']}")
    before = agent.identities()
    agent.kill()
    agent.start()
    assert agent.identities() == before
    assert len(before) == 4
    assert agent.call("POST", "/port", port_object(9))[0] == 200
    new = agent.identities()[port_object(9)["id"]]
    assert new == "169.254.64.7"


def test_vrouter_port_control_works(agent: Agent) -> None:
    """It writes the file itself, then calls; on deletion it removes the file first.
    (Contrail: Port_Add_Python.)
    """
    body = port_object(
        1, **{"vhostuser-mode": 0, "author": "/usr/bin/x", "time": "now"}
    )
    path = agent.folder / body["id"]
    path.write_text(json.dumps(body))
    assert agent.call("POST", "/port", body) == (200, "OK", b"{}")
    assert json.loads(path.read_text())["mdata-ip"] == "169.254.64.2"
    path.unlink()
    assert agent.call("DELETE", f"/port/{body['id']}") == (200, "OK", b"{}")


def test_a_file_written_while_the_agent_was_down_is_loaded(agent: Agent) -> None:
    """vrouter-port-control ignores a refused connection; junk beside it is survived.
    (Contrail: PortReload.)
    """
    agent.kill()
    body = port_object(1)
    (agent.folder / body["id"]).write_text(json.dumps(body))
    junk = agent.folder / "99999999-0000-0000-0000-000000000000"
    junk.write_text("{")
    agent.start()
    assert list(agent.identities()) == [body["id"]]
    assert f"port file {junk} skipped" in agent.log.read_text()
    assert json.loads((agent.folder / body["id"]).read_text())["mdata-ip"]


def test_the_bytes_on_the_wire(agent: Agent) -> None:
    """Reason OK whatever the status; a request that is followed by FIN is answered."""
    assert agent.call("GET", f"/port/{PORT}") == (
        404, "OK", b'{"error":"{ Not Found }"}'
    )  # fmt: skip
    assert agent.call("POST", "/port", {})[:2] == (500, "OK")
    assert agent.call("GET", "/vn") == (404, "OK", b'{"error":"Unknown Request"}')
    with socket.create_connection(("127.0.0.1", agent.port), timeout=10) as plain:
        plain.sendall(b"GET /ports HTTP/1.0\r\n\r\n")
        assert plain.makefile("rb").read().endswith(b"\r\n\r\n[]")


def test_a_thousand_ports_in_one_call(agent: Agent) -> None:
    """Durable within a few seconds on any disk, and others are served meanwhile."""
    ports = [port_object(n + 1) for n in range(1000)]
    begin = time.monotonic()
    assert agent.call("POST", "/port", ports) == (200, "OK", b"{}")
    taken = time.monotonic() - begin
    print(f"1,000 ports in one call: {taken * 1000:.0f} ms")
    assert taken < 10
    assert len(list(agent.folder.iterdir())) == 1000
    identities = agent.identities()
    assert len(set(identities.values())) == 1000
    agent.kill()
    begin = time.monotonic()
    agent.start()
    print(f"start with 1,000 ports: {(time.monotonic() - begin) * 1000:.0f} ms")
    assert agent.identities() == identities


@pytest.fixture
def disk(agent: Agent) -> Iterator[SmallDisk]:
    """What the ports are on; the agent runs, and has none."""
    agent.kill()
    with small_disk(agent.folder, kibibytes=64) as disk:
        agent.start()
        try:
            yield disk
        finally:
            agent.kill()


@pytest.mark.system
def test_a_full_disk_refuses_and_leaves_nothing(agent: Agent, disk: SmallDisk) -> None:
    """A real ENOSPC: 500, no port, no file, and it works again with room."""
    ports = [port_object(n + 1) for n in range(100)]
    status, _reason, content = agent.call("POST", "/port", ports)
    assert (status, b"No space left on device" in content) == (500, True)
    assert list(disk.folder.iterdir()) == []
    assert agent.identities() == {}
    assert agent.call("POST", "/port", ports[0])[0] == 200


@pytest.mark.system
def test_a_port_is_deleted_for_good_or_not_at_all(
    agent: Agent, disk: SmallDisk
) -> None:
    """A real EROFS: 500 with the reason, and the port stays, after a kill as well; once
    the disk takes it, the port is gone, after a kill as well.
    """
    port = port_object(1)
    path = f"/port/{port['id']}"
    assert agent.call("POST", "/port", port)[0] == 200
    disk.make_read_only()
    status, _reason, content = agent.call("DELETE", path)
    assert (500, True) == (status, b"Read-only file system" in content)
    assert [port["id"]] == list(agent.identities())
    disk.make_writable()
    agent.kill()
    agent.start()
    assert [port["id"]] == list(agent.identities())
    assert (200, "OK", b"{}") == agent.call("DELETE", path)
    assert {} == agent.identities()
    agent.kill()
    agent.start()
    assert {} == agent.identities()


@pytest.mark.system
def test_a_port_is_replaced_for_good_or_not_at_all(
    agent: Agent, disk: SmallDisk
) -> None:
    """Another name, or another link state, for a port that is there."""
    port = port_object(1, type=2)
    path = f"/port/{port['id']}"
    assert agent.call("POST", "/port", port)[0] == 200
    before = agent.call("GET", path)
    disk.make_read_only()
    other = {**port, "display-name": "other"}
    assert agent.call("POST", "/port", other)[0] == 500
    assert agent.call("PUT", f"/enable-{path[1:]}")[0] == 500
    assert before == agent.call("GET", path)
    disk.make_writable()
    agent.kill()
    agent.start()
    assert before == agent.call("GET", path)
