"""Where it is measured: a lab with one guest, an upstream, contestants, an agent.

Everything runs in the lab's namespaces, so no port of the real host is touched and
closing the lab ends whatever is left. Knows how to start things, not what is measured.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import NamedTuple

from bench.clients.crowd import Member, save
from lab.agent import SECRET, SOURCE, RunningAgent, configuration
from lab.guests import Lab, Wiring
from lab.namespaces import LabError, Machine, inside, run
from lab.waiting import wait_for
from vagent.config.model import Secret
from vagent.metadata.guest.identity_headers import signature

PREFIX = "vagent-bench"
HERE = Path(__file__).parent
LOOPBACK = "127.0.0.1"
GUEST, GATEWAY = "192.0.2.9", "192.0.2.1"
PLAIN_PORT, TLS_PORT, OPEN_TLS_PORT = 18775, 18776, 18777
START_DEADLINE = 15.0
"""Seconds until a contestant must answer; each takes less than one."""
LIMITS = """<linklocal-flows>
    <max-system-flows>1000000</max-system-flows>
    <max-vm-flows>1000000</max-vm-flows>
    <max-vm-new-flows>1000000</max-vm-new-flows>
  </linklocal-flows>"""
"""One guest opens more flows in a second here than all of a host's guests should; the
rules that count them stay in place."""
UNLIMITED = "<cache-ttl>0</cache-ttl><guest-request-rate>0</guest-request-rate>"
"""Of the proxy: each request goes to the upstream, as it does with haproxy."""
LARGE = 8192
"""Bytes of the large body."""


@dataclass(frozen=True, slots=True)
class Cpus:
    """Who runs where. The same for every contestant."""

    load: int
    upstream: int
    contestant: int

    @classmethod
    def of(cls, allowed: Sequence[int]) -> Cpus:
        """Contestants get a CPU of their own if there are two, upstreams from three."""
        ordered = sorted(allowed)
        upstream = ordered[1] if len(ordered) > 2 else ordered[0]
        return cls(load=ordered[0], upstream=upstream, contestant=ordered[-1])


class Upstream(NamedTuple):
    """Where something answers as nova-api, on loopback; `tls`: over mutual TLS."""

    port: int
    tls: bool


NGINX = {False: Upstream(PLAIN_PORT, False), True: Upstream(TLS_PORT, True)}
"""The usual one, by whether it is asked over mutual TLS."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A running proxy: what it is called, where it listens, which processes it is."""

    name: str
    origin: str
    pids: tuple[int, ...]


class Stage:
    """The lab. `close` takes everything away."""

    def __init__(self, folder: Path, cpus: Cpus) -> None:
        self.folder = folder
        self.cpus = cpus
        self.agent_folder = folder / "agent"
        self._processes: list[subprocess.Popen[bytes]] = []
        _sweep()
        self.lab = Lab(f"{PREFIX}-{os.getpid()}")
        try:
            self.guest = self.lab.guest(
                "guest", Wiring.ROUTED, address=f"{GUEST}/24", gateway=GATEWAY
            )
            # Or the guest runs out of ports, and what is measured is its own search
            # for one: whoever closes first keeps the port for a minute.
            self.guest.machine.run("sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1")
        except BaseException:
            self.lab.close()
            raise
        self.agent = RunningAgent(
            self.lab,
            self.agent_folder,
            configuration(self.agent_folder, extra=LIMITS, proxy=UNLIMITED),
        )

    @property
    def host(self) -> Machine:
        """The machine on which all but the guest's programs run."""
        return self.lab.host

    def close(self) -> None:
        """Take the namespaces away, with whatever still runs in them."""
        self.lab.close()
        for process in self._processes:
            process.wait(START_DEADLINE)

    def forget_state(self) -> None:
        """What the stopped agent registered is not there when it starts again. It is
        moved, not deleted: ext4 avoids inodes that were free for less than five
        seconds, and looks at each of them for each file that is made meanwhile.
        """
        state = self.agent_folder / "state"
        if state.exists():
            state.rename(tempfile.mkdtemp(prefix="state-", dir=self.agent_folder))

    def upstream(self) -> None:
        """Start nginx as nova-api."""
        (self.folder / "large.txt").write_bytes(b"x" * LARGE)
        pki = self.agent_folder / "pki"
        conf = self.render(
            "nginx.conf.in",
            "nginx.conf",
            folder=self.folder,
            plain_port=PLAIN_PORT,
            tls_port=TLS_PORT,
            open_tls_port=OPEN_TLS_PORT,
            server_cert=pki / "metadata-server.crt",
            server_key=pki / "metadata-server.key",
            ca_cert=pki / "ca.crt",
        )
        log = str(self.folder / "nginx.log")
        self.start(
            "nginx",
            self.cpus.upstream,
            ["nginx", "-e", log, "-p", str(self.folder), "-c", str(conf)],
        )
        self._await_answer("nginx", f"http://{LOOPBACK}:{PLAIN_PORT}/")

    def client_tls(self) -> list[str]:
        """Files of a client of the upstream: certificate, key, authority."""
        pki = self.agent_folder / "pki"
        return [str(pki / name) for name in ("agent.crt", "agent.key", "ca.crt")]

    def everyone(self, crowd: Sequence[Member]) -> Path:
        """A file with the crowd and, in its middle, the guest, asking from loopback."""
        mine = self.identity()
        member = Member(LOOPBACK, mine["instance_id"], mine["tenant_id"])
        half = len(crowd) // 2
        return save(
            self.folder / f"crowd-{len(crowd)}.json",
            [*crowd[:half], member, *crowd[half:]],
        )

    def identity(self) -> dict[str, str]:
        """What the upstream must be told of the guest, whoever tells it."""
        instance = self.guest.instance_id
        return {
            "instance_id": instance,
            "tenant_id": self.guest.tenant_id,
            "signature": signature(Secret(SECRET.encode()), instance),
        }

    def start(
        self, name: str, cpu: int, argv: Sequence[str], *, on: Machine | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program on one CPU, on the host unless told otherwise; its words go
        to `name`.log.
        """
        with (self.folder / f"{name}.log").open("ab") as log:
            process = (on or self.host).start(
                ["taskset", "-c", str(cpu), *argv],
                cwd=SOURCE,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def end(self, contestant: Contestant) -> None:
        """End its processes."""
        for process in self._processes:
            if process.pid in contestant.pids:
                process.terminate()
                process.wait(START_DEADLINE)

    def check_echo(self, machine: Machine, contestant: Contestant) -> None:
        """Does the upstream get the identity? Raises LabError if not."""
        said = _curl(machine, f"{contestant.origin}/echo")
        expected = " ".join(self.identity().values())
        if not said.startswith(expected):
            raise LabError(f"{contestant.name} does not do the work: {said!r}")

    def await_port(self, port: int, *, on: Machine | None = None) -> None:
        """Return when something listens at this loopback port. Raises LabError."""
        inside((on or self.host).name, lambda: _knock(port))

    def contestant(
        self, name: str, origin: str, *processes: subprocess.Popen[bytes]
    ) -> Contestant:
        """What these are, when it answers and does its work. Raises LabError."""
        self._await_answer(name, f"{origin}/")
        pids = tuple(process.pid for process in processes)
        contestant = Contestant(name, origin, pids)
        self.check_echo(self.host, contestant)
        return contestant

    def render(self, source: str, name: str, **values: object) -> Path:
        """Fill in a template of this folder; where it is now."""
        text = Template((HERE / source).read_text()).substitute(values)
        path = self.folder / name
        path.write_text(text)
        return path

    def _await_answer(self, name: str, url: str) -> None:
        ask = ("-o", os.devnull, "-w", "%{http_code}")
        try:
            wait_for(
                lambda: _curl(self.host, url, *ask),
                "200".__eq__,
                seconds=START_DEADLINE,
                pause=0.05,
            )
        except LabError as failure:
            logs = "".join(path.read_text() for path in self.folder.glob("*.log"))
            text = f"{name} does not answer at {url}; the logs say:\n{logs}"
            raise LabError(text) from failure


def _sweep() -> None:
    """Take away what benchmarks that were killed have left."""
    for name in re.findall(rf"^{PREFIX}-\d+-\w+", run("ip", "netns"), re.MULTILINE):
        if not Path("/proc", name.removeprefix(f"{PREFIX}-").split("-")[0]).exists():
            Machine(name).destroy()


def _curl(machine: Machine, url: str, *options: str) -> str:
    return machine.run("curl", "-s", "-m", "5", *options, url, check=False)


def _knock(port: int) -> None:
    def errno() -> int:
        with socket.socket() as knocking:
            return knocking.connect_ex((LOOPBACK, port))

    try:
        wait_for(errno, (0).__eq__, seconds=START_DEADLINE)
    except LabError as failure:
        raise LabError(f"nothing listens at {LOOPBACK}:{port}") from failure
