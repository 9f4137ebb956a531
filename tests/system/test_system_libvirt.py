"""The libvirt watcher with a real libvirtd and QEMU: ports follow domains, always."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.agent import SOURCE, configuration
from lab.libvirt import Libvirtd, ethernet
from lab.waiting import holds, wait_for

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("libvirtd") is None, reason="no libvirtd to start"),
]

ONE, TWO = (f"1a2b3c00-0000-4000-8000-00000000000{n}" for n in (1, 2))
MAC1, MAC2, MAC3 = (f"52:54:00:00:00:0{n}" for n in (1, 2, 3))


class Host:
    """A site's host with libvirtd and the watcher."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.libvirtd = Libvirtd(site.lab.host, Path(site.folder) / "libvirt")
        self.libvirtd.start()
        extra = (
            f"<libvirt><enabled>true</enabled><uri>{self.libvirtd.uri}</uri></libvirt>"
        )
        site.agent.config = configuration(Path(site.folder), extra=extra)
        self.watcher: subprocess.Popen[bytes] | None = None

    def watch(self) -> None:
        """Start the watcher."""
        command = [sys.executable, "-m", "vagent.guests.process"]
        with (Path(self.site.folder) / "watcher.log").open("ab") as log:
            self.watcher = self.site.lab.host.start(
                [*command, "--config", str(self.site.agent.conf)],
                cwd=SOURCE,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop_watching(self) -> None:
        """As systemd does it. The ports stay."""
        if self.watcher is not None:
            self.watcher.terminate()
            assert -signal.SIGTERM == self.watcher.wait(10)
            self.watcher = None

    def ports(self) -> list[dict[str, Any]]:
        """What `vagentctl port list` shows."""
        return self.tool("port", "list")

    def tool(self, *argv: str) -> list[dict[str, Any]]:
        """What vagentctl shows, as JSON."""
        conf = ("--config", str(self.site.agent.conf))
        said = self.site.agent.tool("vagent.ctl", "-o", "json", *conf, *argv)
        found: list[dict[str, Any]] = json.loads(said)
        return found

    def taps(self) -> dict[str, str]:
        """Of each port of the watcher's: the tap by MAC address, or the state where the
        port is not Active.
        """
        return {
            port["mac-address"]: port["system-name"]
            if port["state"] == "Active"
            else port["state"]
            for port in self.ports()
            if port["owner"] == "watcher"
        }

    def until(self, taps: dict[str, str]) -> None:
        """Wait until ports are at these taps, and no others."""
        wait_for(self.taps, lambda found: found == taps, seconds=20)

    def tap(self, name: str, mac: str) -> str:
        """The tap that libvirt gave an interface."""
        for line in self.libvirtd.virsh("domiflist", name).splitlines():
            if line.split()[-1] == mac:
                return line.split()[0]
        raise AssertionError((name, mac))


@pytest.fixture
def host(idle_site: Any) -> Iterator[Host]:
    """Agent and watcher run; two domains are defined."""
    found = Host(idle_site)
    try:
        idle_site.agent.start()
        found.watch()
        found.libvirtd.define("one", ONE, ethernet(MAC1))
        found.libvirtd.define("two", TWO, ethernet(MAC2))
        yield found
    finally:
        found.stop_watching()
        found.libvirtd.end()


def test_a_domain_has_its_port_as_long_as_it_runs(host: Host) -> None:
    """Start, power cycle with another tap, hot plug, pause, exchanged taps, stop: the
    ports are the same ones, at the right taps, without any command.
    """
    virsh = host.libvirtd.virsh
    virsh("start", "one")
    virsh("start", "two")
    host.until({MAC1: host.tap("one", MAC1), MAC2: host.tap("two", MAC2)})
    before = {port["mac-address"]: port["id"] for port in host.ports()}
    assert {ONE, TWO} == {port["instance-id"] for port in host.ports()}
    assert all(port["learn"] for port in host.ports())

    listed = host.tool("guest", "list")
    assert [("one", ONE, "watcher", "Active"), ("two", TWO, "watcher", "Active")] == [
        (row["name"], row["uuid"], row["owner"], row["state"]) for row in listed
    ]
    wrong = ["cloud-init will not ask: vagentctl libvirt prepare one"]
    assert wrong == listed[0]["wrong"]

    conf = ("--config", str(host.site.agent.conf))
    told = host.site.agent.tool("vagent.ctl", *conf, "doctor", check=False)
    assert "domains: cloud-init will not ask in 'one', 'two'" in told

    old = host.tap("one", MAC1)
    virsh("destroy", "one")
    host.until({MAC2: host.tap("two", MAC2)})
    virsh("start", "one")
    assert old != host.tap("one", MAC1)
    host.until({MAC1: host.tap("one", MAC1), MAC2: host.tap("two", MAC2)})

    plugged = Path(host.site.folder) / "plugged.xml"
    plugged.write_text(ethernet(MAC3))
    virsh("attach-device", "two", str(plugged), "--live")
    host.until({MAC1: host.tap("one", MAC1), MAC2: host.tap("two", MAC2),
                MAC3: host.tap("two", MAC3)})  # fmt: skip
    virsh("suspend", "two")
    assert MAC2 in host.taps()

    virsh("destroy", "two")
    virsh("destroy", "one")
    host.until({})
    for taps in (("tapa", "tapb"), ("tapb", "tapa")):
        host.stop_watching()
        for name, uuid, mac, tap in zip(
            ("one", "two"), (ONE, TWO), (MAC1, MAC2), taps, strict=True
        ):
            virsh("destroy", name, check=False)
            host.libvirtd.define(name, uuid, ethernet(mac, tap))
        virsh("start", "one")
        virsh("start", "two")
        host.watch()
        host.until({MAC1: taps[0], MAC2: taps[1]})
    assert before == {port["mac-address"]: port["id"] for port in host.ports()}


def test_whoever_was_away_the_ports_are_right_afterwards(host: Host) -> None:
    """libvirtd killed while a domain ends, the agent stopped while one starts, the
    watcher stopped while one ends; a port of the operator's is not touched, nor one
    that the operator took over from the watcher.
    """
    virsh = host.libvirtd.virsh
    virsh("start", "one")
    virsh("start", "two")
    host.until({MAC1: host.tap("one", MAC1), MAC2: host.tap("two", MAC2)})
    theirs = host.site.alice()
    host.site.agent.register(theirs)

    host.libvirtd.stop(signal.SIGKILL)
    holds(lambda: {MAC1, MAC2} == host.taps().keys(), seconds=2)
    os.kill(host.libvirtd.pid("one"), signal.SIGKILL)
    host.libvirtd.start()
    host.until({MAC2: host.tap("two", MAC2)})

    host.site.agent.stop()
    virsh("start", "one")
    host.site.agent.start()
    host.until({MAC1: host.tap("one", MAC1), MAC2: host.tap("two", MAC2)})

    host.stop_watching()
    virsh("destroy", "two")
    host.watch()
    host.until({MAC1: host.tap("one", MAC1)})
    others = [port for port in host.ports() if port["owner"] != "watcher"]
    assert [(theirs.port_id, "cli")] == [(port["id"], port["owner"]) for port in others]

    [watched] = [port for port in host.ports() if port["owner"] == "watcher"]
    tap = watched["system-name"]
    host.site.agent.tool(
        *("vagent.ctl", "port", "add", "--uuid", watched["id"], "--instance", ONE),
        *("--tap", tap, "--mac", MAC1, "--learn"),
    )
    virsh("destroy", "one")
    virsh("start", "two")
    host.until({MAC2: host.tap("two", MAC2)})
    kept = {port["id"]: port["owner"] for port in host.ports()}
    assert ("cli", "cli") == (kept[watched["id"]], kept[theirs.port_id])
