"""Machines behind the host: where fabric endpoints of services are.

They share a network with the host that no guest is on. Each runs an echo server that
tells its own name, over TCP and UDP, IPv4 and IPv6, so that it shows who answered.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from lab.guests import Lab
from lab.namespaces import LabError, Machine, run
from lab.waiting import wait_for

SOURCE = Path(__file__).resolve().parents[1]
BRIDGE = "fabric"
HOST4, HOST6 = "198.51.100.1", "2001:db8:fab::1"


@dataclass(slots=True)
class Server:
    """One machine of the fabric. `serve` and `fall_silent`, as often as wanted."""

    name: str
    machine: Machine
    address: str
    address6: str
    _processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def serve(self, port: int, *protocols: str) -> None:
        """Echo on a port, over `tcp` and `udp` or one of them. Raises LabError."""
        self._processes[port] = echo(self.machine, self.name, port, *protocols)

    def refuse(self, port: int) -> None:
        """Serve no more: the machine's kernel refuses."""
        process = self._processes.pop(port)
        process.kill()
        process.wait()

    def vanish(self) -> None:
        """Drop whatever comes: nobody is told anything."""
        hook = "type filter hook ingress device eth0 priority 0; policy drop;"
        self.machine.run(
            "nft", f"table netdev gone {{ chain everything {{ {hook} }}; }}"
        )

    def come_back(self) -> None:
        """After `vanish`."""
        self.machine.run("nft", "delete table netdev gone")

    def stop(self) -> None:
        """End its servers."""
        for port in [*self._processes]:
            self.refuse(port)


@dataclass(slots=True)
class Fabric:
    """The network behind the host, which forwards what comes back."""

    lab: Lab
    servers: list[Server] = field(default_factory=list)

    def __post_init__(self) -> None:
        host = self.lab.host
        host.run("ip", "link", "add", BRIDGE, "type", "bridge")
        host.run("ip", "link", "set", BRIDGE, "up")
        host.run("ip", "address", "add", f"{HOST4}/24", "dev", BRIDGE)
        host.run("sysctl", "-qw", f"net.ipv4.conf.{BRIDGE}.forwarding=1")
        # Where bridged packets pass the host's rules, datagrams that came in fragments
        # leave the bridge whole (docs/operations.md, "Other packet filters").
        for family in ("iptables", "ip6tables"):
            key = f"net.bridge.bridge-nf-call-{family}"
            host.run("sysctl", "-qw", f"{key}=0", check=False)
        self._address6(host, BRIDGE, HOST6)

    def forward6(self) -> None:
        """What IPv6 needs of the whole host, and the agent does not set."""
        self.lab.host.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")

    def server(self, name: str) -> Server:
        """One more machine."""
        number = 10 + len(self.servers)
        machine = self.lab.machine(name)
        run(
            *("ip", "link", "add", f"fab-{name}"[:15], "netns", self.lab.host.name),
            *("type", "veth", "peer", "name", "eth0", "netns", machine.name),
        )
        self.lab.host.run(
            "ip", "link", "set", f"fab-{name}"[:15], "master", BRIDGE, "up"
        )
        machine.run("ip", "link", "set", "eth0", "up")
        made = Server(name, machine, f"198.51.100.{number}", f"2001:db8:fab::{number}")
        machine.run("ip", "address", "add", f"{made.address}/24", "dev", "eth0")
        self._address6(machine, "eth0", made.address6)
        self.servers.append(made)
        return made

    def close(self) -> None:
        """End the servers; the lab takes the machines away."""
        for server in self.servers:
            server.stop()

    @staticmethod
    def _address6(machine: Machine, interface: str, address: str) -> None:
        added = ("ip", "address", "add", f"{address}/64", "dev", interface, "nodad")
        machine.run(*added, check=False)  # there may be no IPv6 here


def echo(
    machine: Machine, name: str, port: int, *protocols: str, address: str = ""
) -> subprocess.Popen[bytes]:
    """An echo server on a machine; returns when it listens. Raises LabError.

    Where a machine has several addresses, datagrams are answered from the right one
    only by a server that is bound to it.
    """
    kinds = protocols or ("tcp", "udp")
    process = machine.start(
        [sys.executable, "-m", "lab.echo", name, address, str(port), *kinds], cwd=SOURCE
    )
    try:
        wait_for(lambda: machine.run("ss", "-ltunH").count(f":{port} ") >= len(kinds))
    except LabError:
        process.kill()
        raise
    return process
