"""Open vSwitch on one of the lab's machines: database and daemon of its own.

Packets go through the switch's kernel datapath, which belongs to the machine's network
namespace; only the first of a kind goes through the daemon.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.namespaces import PATIENCE, LabError, Machine, run

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
DATAPATH = "openvswitch"
"""Kernel module of the datapath."""


def missing() -> str:
    """What is missing on this machine for a switch; "" if nothing is."""
    if shutil.which("ovs-vswitchd", path="/usr/sbin:/usr/bin") is None:
        return "Open vSwitch is not installed (package openvswitch-switch)"
    try:
        run("modprobe", DATAPATH)
    except LabError:
        return f"this kernel has no module {DATAPATH}"
    return ""


@contextmanager
def running(machine: Machine, folder: Path) -> Iterator[Switch]:
    """A switch while the block runs. Raises LabError."""
    switch = Switch(machine, folder)
    try:
        switch.start()
        yield switch
    finally:
        switch.stop()


class Switch:
    """One ovsdb-server and one ovs-vswitchd; their files are in `folder`."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self._machine = machine
        self._folder = folder
        self._database = f"unix:{folder}/db.sock"

    def start(self) -> None:
        """Start both daemons; return when they answer."""
        self._folder.mkdir(parents=True, exist_ok=True)
        database = str(self._folder / "conf.db")
        run("ovsdb-tool", "create", database, str(SCHEMA))
        self._daemon("ovsdb-server", database, f"--remote=p{self._database}")
        self.change("--no-wait", "init")
        self._daemon("ovs-vswitchd", self._database)

    def stop(self) -> None:
        """End the daemons and take the switch's interfaces away."""
        for name in ("ovs-vswitchd", "ovsdb-server"):
            with suppress(LabError):
                self._tell(name, "exit", *["--cleanup"] * (name == "ovs-vswitchd"))

    def bridge(self, name: str) -> None:
        """Add a bridge that learns addresses like any other."""
        self.change("add-br", name)

    def port(self, bridge: str, interface: str) -> None:
        """Make an interface of the machine a port of a bridge."""
        self.change("add-port", bridge, interface)

    def change(self, *argv: str) -> str:
        """Run ovs-vsctl; returns when the daemon has done what it says."""
        return self._machine.run(
            "ovs-vsctl",
            f"--timeout={30 * PATIENCE:.0f}",
            f"--db={self._database}",
            *argv,
        )

    def flows(self) -> str:
        """The kernel datapath's flows, as its own tool shows them."""
        return self._machine.run("ovs-dpctl", "dump-flows")

    def _daemon(self, name: str, *argv: str) -> None:
        self._machine.run(
            "env",
            f"OVS_RUNDIR={self._folder}",
            name,
            *argv,
            "--detach",
            f"--pidfile={self._folder}/{name}.pid",
            f"--log-file={self._folder}/{name}.log",
            f"--unixctl={self._folder}/{name}.ctl",
        )

    def _tell(self, name: str, *argv: str) -> None:
        self._machine.run("ovs-appctl", "-t", f"{self._folder}/{name}.ctl", *argv)
