"""Neutron's ways to do the same work, started as Neutron starts them. Knows no figure.

`.ci/python-environment` makes the environment that they run in. Its agent is a
contestant of two processes: the haproxy in front of its socket, and itself.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from bench.clients.crowd import Member
from bench.scene.stage import LOOPBACK, Contestant, Stage, Upstream
from lab.agent import SECRET, SOURCE
from lab.namespaces import LabError
from lab.waiting import wait_for

AGENT = "Neutron's agent"
TUNED = "Neutron's agent, tuned"
IN_HAPROXY = "Neutron in haproxy"
PYTHON = SOURCE / "var" / "neutron" / "bin" / "python"
NETWORK = str(uuid.UUID(int=1))
START_DEADLINE = 60.0
"""Seconds until its agent listens; it takes 3 to 10."""
MANY_WORKERS = 16
"""As it starts on a host of 32 CPUs."""
BACKLOG = 4096
"""What its option promises; it comes with 5."""
CONFIGURATION = """\
[DEFAULT]
state_path = {folder}
host = bench
transport_url = fake://
metadata_proxy_socket = {folder}/socket
metadata_proxy_shared_secret = {secret}
nova_metadata_host = 127.0.0.1
nova_metadata_port = {port}
{more}
[AGENT]
report_interval = 0
"""


def is_installed() -> bool:
    """Has `make bench` made its environment?"""
    return PYTHON.with_name("neutron-metadata-agent").exists()


def agent(
    stage: Stage,
    port: int,
    upstream: Upstream,
    *,
    crowd: Sequence[Member] = (),
    workers: int = 0,
    backlog: int = 0,
) -> Contestant:
    """Start haproxy and agent. Without `workers` it has as many as it wants, without
    `backlog` the five waiting connections that it comes with.
    """
    folder = stage.folder / f"neutron-{port}"
    (folder / "none").mkdir(parents=True)
    conf = folder / "agent.conf"
    conf.write_text(_configuration(stage, folder, upstream, workers))
    serving = stage.start(
        f"neutron-{port}",
        stage.cpus.contestant,
        [
            *(str(PYTHON), "-m", "bench.neutron.neutron_agent", "--config", str(conf)),
            *("--folder", str(folder / "none"), "--crowd", str(stage.everyone(crowd))),
            *(["--backlog", str(backlog)] if backlog else []),
        ],
    )
    _await(folder / "socket", serving)
    fronting = _haproxy(
        stage, "network", port, "--network", NETWORK, "--socket", f"{folder}/socket"
    )
    name = TUNED if workers else AGENT
    return stage.contestant(name, f"http://{LOOPBACK}:{port}", fronting, serving)


def in_haproxy(
    stage: Stage, port: int, upstream: Upstream, *, crowd: Sequence[Member]
) -> Contestant:
    """Start the haproxy that needs no agent; it cannot ask over TLS."""
    process = _haproxy(
        stage,
        "host",
        port,
        *("--nova", f"{LOOPBACK}:{upstream.port}", "--secret", SECRET),
        *("--crowd", str(stage.everyone(crowd))),
    )
    return stage.contestant(IN_HAPROXY, f"http://{LOOPBACK}:{port}", process)


def _configuration(stage: Stage, folder: Path, to: Upstream, workers: int) -> str:
    cert, key, ca = stage.client_tls()
    more = [
        *([f"metadata_workers = {workers}"] if workers else []),
        *(
            [
                "nova_metadata_protocol = https",
                f"nova_client_cert = {cert}",
                f"nova_client_priv_key = {key}",
                f"auth_ca_cert = {ca}",
            ]
            if to.tls
            else []
        ),
    ]
    return CONFIGURATION.format(
        folder=folder, secret=SECRET, port=to.port, more="\n".join(more)
    )


def _haproxy(
    stage: Stage, kind: str, port: int, *options: str
) -> subprocess.Popen[bytes]:
    done = subprocess.run(
        [
            *(str(PYTHON), "-m", "bench.neutron.neutron_haproxy", kind),
            *("--address", LOOPBACK, "--port", str(port), *options),
        ],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        timeout=START_DEADLINE,
        check=False,
    )
    if done.returncode:
        raise LabError(f"Neutron did not write haproxy's configuration:\n{done.stderr}")
    conf = stage.folder / f"neutron-haproxy-{port}.cfg"
    conf.touch(mode=0o600)
    conf.write_text(done.stdout)
    return stage.start(
        f"neutron-haproxy-{port}",
        stage.cpus.contestant,
        ["haproxy", "-db", "-f", str(conf)],
    )


def _await(socket: Path, serving: subprocess.Popen[bytes]) -> None:
    wait_for(
        lambda: socket.exists() or serving.poll() is not None,
        seconds=START_DEADLINE,
        pause=0.05,
    )
    if not socket.exists():
        raise LabError(f"Neutron's agent does not listen at {os.fspath(socket)}")
