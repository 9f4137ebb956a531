"""Labs for the system tests: real namespaces, taps, packets, and a real agent."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import pytest

from lab.agent import PROVISION, SOURCE, RunningAgent, configuration
from lab.fabric import Fabric
from lab.guests import Guest, Lab, Wiring
from lab.namespaces import PATIENCE
from lab.waiting import wait_for
from tests.system.metadata_rig import reactor, start, upstream
from tests.system.tap_counts import tap_drops
from vagent.datapath.rules.counters import AT_TAPS

__all__ = ["reactor", "start", "upstream"]

METADATA = "http://169.254.169.254"
ECHO = """
import socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(100):
            self.request.sendall(data.upper())
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
Server(("127.0.0.1", 7777), Echo).serve_forever()
"""
_numbers = itertools.count(1)


class Site:
    """A lab with an agent, and what tests do with them all the time."""

    def __init__(self, folder: Path) -> None:
        self.lab = Lab(f"vt{os.getpid()}-{next(_numbers)}")
        self.folder = folder
        self.agent = RunningAgent(self.lab, folder, configuration(folder), spawn=False)
        self.started: list[subprocess.Popen[bytes]] = []
        for bridge in ("blue", "green"):
            self.lab.bridge(bridge, "10.0.0.1/24")

    def alice(self) -> Guest:
        """Bridged behind a gateway that is not the host."""
        return self.lab.guest(
            "alice",
            Wiring.BRIDGED,
            address="10.0.0.5/24",
            gateway="10.0.0.1",
            bridge="blue",
        )

    def bob(self) -> Guest:
        """On another bridge, the same address, 169.254.0.0/16 on-link."""
        return self.lab.guest(
            "bob",
            Wiring.ON_LINK,
            address="10.0.0.5/24",
            gateway="10.0.0.1",
            bridge="green",
        )

    def carol(self) -> Guest:
        """Routed by the host."""
        return self.lab.guest(
            "carol", Wiring.ROUTED, address="192.0.2.9/24", gateway="192.0.2.1"
        )

    def introduce(self, *guests: Guest) -> None:
        """Register ports and instances."""
        for guest in guests:
            self.agent.register(guest)
            document = self.folder / f"{guest.name}.json"
            document.write_text(
                json.dumps(
                    {
                        "uuid": guest.instance_id,
                        "tenant_id": guest.tenant_id,
                        "name": guest.name,
                        "user_data": f"I am {guest.name}\n",
                    }
                )
            )
            self.agent.tool("vagent.ctl", "instance", "add", str(document))

    def provision(self, *more: str) -> None:
        """Provision the metadata service."""
        self.agent.tool(*PROVISION, *more)

    def unprovision(self) -> None:
        """Delete the metadata service."""
        self.agent.tool(*PROVISION, "--oper", "delete")

    def uplink(self) -> str:
        """A machine beyond the host, which the host's default route leads to; the name
        of its namespace.
        """
        self.lab.bridge("uplink", "198.51.100.1/24")
        host = self.lab.host
        host.run("ip", "address", "add", "198.51.100.2/24", "dev", "uplink")
        host.run("ip", "route", "add", "default", "via", "198.51.100.1")
        host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        return self.gateway("uplink")

    def gateway(self, bridge: str) -> str:
        """Name of the namespace of a bridge's gateway."""
        return f"{self.lab.prefix}-{bridge}-gw"

    def identity(self, guest: Guest) -> str:
        """The identity that the agent gave to a guest's port."""
        shown = self.agent.tool(
            "vagent.ctl", "-o", "json", "port", "show", guest.port_id
        )
        found: str = json.loads(shown)["mdata-ip"]
        return found

    def counter(self, name: str) -> int:
        """Packets counted by one of our named counters, or of the tap programs'."""
        if name in AT_TAPS:
            return tap_drops(self.lab.host.bpf_files)[name]
        listed = [
            item.get("counter", {})
            for machine in (self.lab.host, self.agent.data_path)
            for item in json.loads(machine.run("nft", "-j", "list", "counters"))[
                "nftables"
            ]
        ]
        return sum(each["packets"] for each in listed if each.get("name") == name)

    def start_on_host(self, argv: Sequence[str]) -> None:
        """Leave a command running on the host until the test ends."""
        self.started.append(self.lab.host.start(argv))

    def serve_echo(self) -> None:
        """Provision ECHO at 169.254.1.7 port 7, to a server on the host."""
        self.agent.tool(
            *("provision.provision_linklocal", "--linklocal_service_name", "echo"),
            *("--linklocal_service_ip", "169.254.1.7"),
            *("--linklocal_service_port", "7"),
            *("--ipfabric_service_ip", "127.0.0.1", "--ipfabric_service_port", "7777"),
        )
        self.start_on_host([sys.executable, "-c", ECHO])
        wait_for(lambda: ":7777" in self.lab.host.run("ss", "-ltn"))

    def close(self) -> None:
        """Stop the agent and take the lab away."""
        for process in self.started:
            process.kill()
            process.wait()
        if self.agent.process is not None:
            self.agent.stop(signal.SIGKILL)  # it may be frozen
        self.lab.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Close the sockets of a test that failed half-way. Its traceback keeps them, and
    when that goes a later test would be blamed for them.
    """
    del item
    report = yield
    if call.excinfo is not None:
        for entry in call.excinfo.traceback:
            for value in list(entry.frame.f_locals.values()):
                for one in value if isinstance(value, list) else [value]:
                    if isinstance(one, socket.socket):
                        one.close()
    return report


def ask(guest: Guest, path: str, *options: str, timeout: float = 10 * PATIENCE) -> str:
    """What the guest gets from its metadata service; "" for nothing."""
    return guest.machine.run(
        *("curl", "-sS", "-m", str(timeout), *options, METADATA + path), check=False
    )


Ask = Callable[..., str]


@pytest.fixture(name="ask")
def ask_fixture() -> Ask:
    """`ask(guest, path, *curl_options)`."""
    return ask


@pytest.fixture
def idle_site(tmp_path: Path) -> Iterator[Site]:
    """A lab whose agent has not been started."""
    made = Site(tmp_path)
    yield made
    made.close()


@pytest.fixture
def fabric(idle_site: Site) -> Iterator[Fabric]:
    """The network behind that lab's host, with IPv6 forwarded, no server yet."""
    made = Fabric(idle_site.lab)
    made.forward6()
    yield made
    made.close()


@pytest.fixture
def site(idle_site: Site) -> Site:
    """A lab with a running agent, nothing registered, nothing provisioned."""
    idle_site.agent.start()
    return idle_site


@pytest.fixture
def zone(idle_site: Site) -> Iterator[Path]:
    """A name server on the host knows what stands in this file. The host's programs see
    a resolv.conf of their own.
    """
    folder = Path("/etc/netns", idle_site.lab.host.name)
    folder.mkdir(parents=True)
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    file = idle_site.folder / "zone"
    idle_site.start_on_host(
        [sys.executable, str(SOURCE / "tests/system/name_server.py"), str(file)]
    )
    listening = ("ss", "-lunH", "sport", "=", "53")
    wait_for(lambda: idle_site.lab.host.run(*listening))
    yield file
    shutil.rmtree(folder)
