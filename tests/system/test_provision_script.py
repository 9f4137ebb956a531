"""The real script as a process against a real config API as a process, on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab.waiting import wait_for
from provision.script.objects import ConfigObjects
from vagent.linklocal.codec import FQ_NAME, KIND, PROPERTY
from vagent.web.json_client import ApiAddress, JsonClient

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "provision" / "provision_linklocal.py"
METADATA = (
    *("--linklocal_service_name", "metadata"),
    *("--linklocal_service_ip", "169.254.169.254", "--linklocal_service_port", "80"),
    *("--ipfabric_service_ip", "10.0.0.5", "--ipfabric_service_port", "8775"),
)
DEADLINE = 20


class Server:
    """The config API in a process of its own; may be killed and started again."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("config_api_process.py")),
                str(self._database),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=DEADLINE)

    def client(self) -> JsonClient:
        return JsonClient(ApiAddress("127.0.0.1", self.port))

    def in_force(self) -> Any:
        return self.client().json("GET", "/vagent/services")["services"]

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return script("--api_server_port", str(self.port), *argv)


def script(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run from somewhere else: no checkout on the path, no site-packages."""
    return subprocess.run(
        [sys.executable, "-S", str(SCRIPT), *argv],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        cwd="/",
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "vagent.sqlite")
    yield server
    server.kill()


def test_add_change_delete(server: Server) -> None:
    """A service comes, changes and goes with three commands, each at once in force."""
    added = server.run(*METADATA)
    assert added.returncode == 0
    assert added.stderr == (
        "provision_linklocal.py: warning: not in force: stored, but this server has no "
        "agent that serves guests\n"
    )
    assert added.stdout.startswith("Created.UUID is ")
    wait_for(lambda: len(server.in_force()) == 1)

    begun = time.monotonic()
    changed = server.run(*METADATA, "--ipfabric_service_ip", "10.0.0.6")
    assert time.monotonic() - begun < 4  # Contrail's sleeps for five seconds
    assert changed.returncode == 0, changed.stderr
    lines = changed.stdout.splitlines()
    assert lines[0] == "Already created! Updating the object."
    assert KIND in json.loads(lines[1].removeprefix("Updated."))
    expected = ["10.0.0.5", "10.0.0.6"]
    wait_for(lambda: server.in_force()[0]["ip_fabric_service_ip"] == expected)

    deleted = server.run(*METADATA[:2], "--oper", "delete")
    assert (deleted.returncode, deleted.stdout[:8]) == (0, "Updated.")
    wait_for(lambda: server.in_force() == [])


def test_survives_kill_9(server: Server) -> None:
    """What the script reported as done is there after kill -9 of the server."""
    assert server.run(*METADATA).returncode == 0
    server.kill()
    server.start()
    wait_for(
        lambda: [s["linklocal_service_name"] for s in server.in_force()] == ["metadata"]
    )
    again = server.run(*METADATA)
    assert again.stdout.startswith("Already created!")


def test_concurrent_scripts(server: Server) -> None:
    """Scripts that run at once: in the end all services are there."""
    names = [f"service{n}" for n in range(6)]

    def add(name: str) -> subprocess.CompletedProcess[str]:
        return server.run(
            METADATA[0], name, *METADATA[2:5], str(1000 + int(name[-1])), *METADATA[6:]
        )

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(add, names))
    assert [result.returncode for result in results] == [0] * len(names), results
    objects = ConfigObjects(server.client())
    uuid = objects.fq_name_to_id(KIND, FQ_NAME)
    assert uuid is not None
    found = objects.read(KIND, uuid)[0][PROPERTY]["linklocal_service_entry"]
    assert sorted(entry["linklocal_service_name"] for entry in found) == names


def test_unreachable() -> None:
    """Nobody listens: exit code 69, one line that says where."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        done = script("--api_server_port", str(port), *METADATA)
    assert done.returncode == 69
    assert done.stdout == ""
    assert f"http://127.0.0.1:{port}: POST /{KIND}s: " in done.stderr
    assert done.stderr.count("\n") == 1


def test_usage() -> None:
    """A wrong value: exit code 2 before anything is sent."""
    done = script(*METADATA, "--linklocal_service_port", "70000")
    assert done.returncode == 2
    assert "70000 is not a port (1–65535)" in done.stderr


def test_refused(server: Server, tmp_path: Path) -> None:
    """The server refuses: exit code 1, its words on stderr, no traceback."""
    conf = tmp_path / "conf.ini"
    conf.write_text("[DEFAULTS]\n")
    objects = ConfigObjects(server.client())
    objects.create(KIND, {"uuid": None, "fq_name": list(FQ_NAME)})
    too_many = {
        PROPERTY: {"linklocal_service_entry": [{"linklocal_service_name": "x"}] * 1024}
    }
    uuid = objects.fq_name_to_id(KIND, FQ_NAME)
    assert uuid is not None
    objects.update(KIND, uuid, too_many)
    done = server.run(*METADATA, "-c", str(conf))
    assert done.returncode == 1
    assert "400: Bad property in update" in done.stderr
    assert "Traceback" not in done.stderr
