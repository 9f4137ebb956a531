"""A real Nova's metadata API on gunicorn with one worker, plain HTTP. Knows no figure.

`tests/clients/install` makes its environment; the tests' own Nova is started here
without TLS, so that what is measured is the server and not its TLS.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.clients.crowd import Member
from bench.embedded.asking import headers
from bench.scene.stage import LOOPBACK, Contestant, Stage
from lab.waiting import wait_for
from tests.clients.facts import FACTS
from tests.clients.real_nova import HERE, INSTALLED, NEUTRON_PORT, Nova

NOVA = "Nova"
PORT = 18701
THREADS = 8
START_DEADLINE = 60.0
"""Seconds until it answers; it takes 3 to 9."""
FACT = next(iter(FACTS.values()))
GUEST = Member(LOOPBACK, FACT["uuid"], FACT["tenant_id"])
"""The guest that is asked for."""


def is_installed() -> bool:
    """Has `make bench` made its environment?"""
    return (INSTALLED / "nova" / "bin" / "gunicorn").exists()


class PlainNova(Nova):
    """Its databases and configuration are the tests'."""

    def serve(self, stage: Stage) -> Contestant:
        """Start it, with the stand-in for Neutron, and wait until it has answered, so
        that it has the guest in its cache.
        """
        self.seed()
        self.heal()
        stage.start(
            "neutron-stand-in",
            stage.cpus.upstream,
            [
                *(sys.executable, str(HERE / "neutron_stand_in.py")),
                *(str(NEUTRON_PORT), str(self._folder / "neutron.json")),
            ],
        )
        gunicorn = INSTALLED / "nova" / "bin" / "gunicorn"
        known = {**self._environment(), "PYTHONPATH": str(Path(__file__).parent)}
        environment = [f"{name}={text}" for name, text in known.items()]
        process = stage.start(
            "nova",
            stage.cpus.contestant,
            [
                *("env", *environment, str(gunicorn), "--no-control-socket"),
                *("--bind", f"{LOOPBACK}:{PORT}", "--workers", "1"),
                *("--worker-class", "gthread", "--threads", str(THREADS)),
                *("--keep-alive", "65", "--chdir", str(self._folder)),
                "plain_wsgi:application",
            ],
        )
        stage.await_port(PORT)
        fields = [
            word
            for name, text in headers(GUEST).items()
            for word in ("-H", f"{name}: {text}")
        ]
        url = f"http://{LOOPBACK}:{PORT}/openstack/latest/meta_data.json"
        wait_for(
            lambda: stage.host.run("curl", "-s", "-m", "9", *fields, url, check=False),
            lambda said: GUEST.instance_id in said,
            seconds=START_DEADLINE,
            pause=0.1,
        )
        return Contestant(NOVA, f"http://{LOOPBACK}:{PORT}", (process.pid,))


def start(stage: Stage) -> Contestant:
    """Start one on the stage."""
    return PlainNova(stage.folder / "nova", stage.agent_folder / "pki").serve(stage)
