"""A town with two upstreams, real Nova and the embedded server, for real clients.

`make test-clients` installs what is real here into var/clients; without it these tests
are skipped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.agent import PROVISION, RunningAgent, configuration
from lab.guests import Guest, Lab, Wiring
from lab.waiting import wait_for
from tests.clients import real_nova
from tests.clients.facts import FACTS, Facts, document
from tests.clients.real_keystone import Keystone
from tests.clients.real_nova import HERE, INSTALLED, Nova
from tests.clients.real_novajoin import Novajoin
from tests.clients.who_target import WhoTarget

DEBIAN = INSTALLED / "debian" / "usr"
PACKAGES = DEBIAN / "lib" / "python3" / "dist-packages"
PORTS = {"embedded": 8775, "nova": real_nova.PORT}
BOOT_DEADLINE = 60.0
"""Seconds for one datasource; with every fault here it takes at most 20."""
OUTAGE = """
table inet outage {{
  chain output {{
    type filter hook output priority 0
    {rule}
  }}
}}
"""


class Town:
    """A lab whose agent, guests and upstreams all run."""

    nova_addresses = real_nova.ADDRESSES

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lab = Lab(f"vc{os.getpid()}")
        self.agent = RunningAgent(self.lab, folder, configuration(folder))
        self.nova = Nova(folder / "nova", folder / "pki")
        self.guests: dict[str, Guest] = {}

    def build(self) -> None:
        """Start everything."""
        self.nova.seed()
        for bridge, name, wiring in (
            ("blue", "alice", Wiring.BRIDGED),
            ("green", "bob", Wiring.ON_LINK),
            ("", "carol", Wiring.ROUTED),
        ):
            if bridge:
                self.lab.bridge(bridge, "10.0.0.1/24")
            self.guests[name] = self._guest(FACTS[name], wiring, bridge)
        self.nova.start(self.lab, wait=False)
        self.agent.start()
        for name, guest in self.guests.items():
            self.agent.register(guest)
            self.describe(name)
        self.nova.wait_ready(self.lab)

    def provision(self, upstream: str, *addresses: str) -> None:
        """The metadata service is `upstream` from now on, at these addresses."""
        self.agent.tool(
            *PROVISION,
            *("--ipfabric_service_port", str(PORTS[upstream])),
            *("--ipfabric_service_ip", *(addresses or ("127.0.0.1",))),
            # The name in the certificate: one for all of Nova's addresses.
            *("--ipfabric_dns_service_name", "localhost"),
        )

    def describe(self, name: str, **changes: Any) -> None:
        """Give the embedded server a guest's document anew, changed or as it was; None
        leaves a member out.
        """
        file = self.folder / f"{name}.json"
        made = {**document(FACTS[name]), **changes}
        known = {name: value for name, value in made.items() if value is not None}
        file.write_text(json.dumps(known))
        self.agent.tool("vagent.ctl", "instance", "add", str(file))

    def register(self, guest: Guest, **changes: Any) -> None:
        """Register a guest's port anew, changed or as it was."""
        self.agent.tool("vagent.ctl", "port", "del", guest.port_id, check=False)
        self.agent.register(dataclasses.replace(guest, **changes))

    @contextmanager
    def unreachable(
        self, upstream: str, *, silent: bool = False, address: str = "127.0.0.0/8"
    ) -> Iterator[None]:
        """For a while connections are reset and refused, or packets just vanish."""
        verdict = "drop" if silent else "reject with tcp reset"
        rule = f"ip daddr {address} tcp dport {PORTS[upstream]} {verdict}"
        self.lab.host.run("nft", "-f", "-", text=OUTAGE.format(rule=rule))
        try:
            yield
        finally:
            self.lab.host.run("nft", "delete", "table", "inet", "outage")

    def wait_for_request(self, path: str) -> None:
        """Return when Nova has been asked for `path`."""
        wait_for(self.nova.requests, lambda seen: path in {one["path"] for one in seen})

    @contextmanager
    def restarted(self, old: str, new: str) -> Iterator[None]:
        """An agent whose agent.conf says `new` instead of `old`, for a while."""
        before = self.agent.config
        assert old in before
        self.agent.stop()
        self.agent.config = before.replace(old, new, 1)
        self.agent.start()
        try:
            yield
        finally:
            self.agent.stop()
            self.agent.config = before
            self.agent.start()

    def close(self) -> None:
        """Stop everything and take it away."""
        self.nova.stop()
        if self.agent.process is not None:
            self.agent.stop()
        self.lab.close()

    def _guest(self, known: dict[str, Any], wiring: Wiring, bridge: str) -> Guest:
        made = self.lab.guest(
            known["name"],
            wiring,
            address=f"{known['address']}/24",
            gateway=known["gateway"],
            bridge=bridge,
            mac=known["mac"],
        )
        return dataclasses.replace(
            made,
            port_id=known["port_id"],
            instance_id=known["uuid"],
            tenant_id=known["tenant_id"],
        )


@dataclasses.dataclass(frozen=True)
class Boot:
    """A datasource of cloud-init at work in a guest."""

    process: subprocess.Popen[bytes]
    folder: Path

    def result(self) -> dict[str, Any]:
        """What it ended with: `found`, `seconds`, and what it found."""
        said, _ = self.process.communicate(timeout=BOOT_DEADLINE)
        log = self.folder / "cloud-init.log"
        assert 0 == self.process.returncode, log.read_text()
        found: dict[str, Any] = json.loads(said)
        return found


class Clients:
    """Real clients, each started inside a guest."""

    def __init__(self, town: Town, folder: Path) -> None:
        self._town = town
        self._folder = folder
        self._boots: list[Boot] = []

    def curl(self, name: str, path: str, *options: str) -> tuple[int, str]:
        """Status and body; 0 for no answer."""
        said = self._town.guests[name].machine.run(
            *("curl", "-s", "-m", "40", "-w", "\n%{http_code}", *options),
            f"http://169.254.169.254{path}",
            check=False,
        )
        body, _, status = said.rpartition("\n")
        return int(status), body

    def boot(
        self, name: str, kind: str = "OpenStack", *, drive: Path | None = None
    ) -> Boot:
        """Start cloud-init's datasource, with the files of a config drive."""
        folder = self._folder / f"boot-{len(self._boots)}"
        folder.mkdir()
        if drive is not None:
            shutil.copytree(drive, folder / "lib" / "seed" / "config_drive")
        process = self._town.guests[name].machine.start(
            [
                str(INSTALLED / "guest" / "bin" / "python"),
                str(HERE / "cloud_init_boot.py"),
                *(str(PACKAGES), str(folder), kind),
            ],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self._boots.append(Boot(process, folder))
        return self._boots[-1]

    def python(self, name: str, script: str, *argv: str) -> dict[str, Any]:
        """Run a script of this folder; what it printed."""
        said = self._town.guests[name].machine.run(
            str(INSTALLED / "guest" / "bin" / "python"), str(HERE / script), *argv
        )
        found: dict[str, Any] = json.loads(said)
        return found

    def facter(self, name: str) -> dict[str, Any]:
        """What facter finds of Amazon's cloud. It is asked for it directly, because it
        looks at DMI first, and there is no virtual machine.
        """
        libraries = DEBIAN / "lib" / "x86_64-linux-gnu"
        gems = DEBIAN / "share" / "rubygems-integration" / "all" / "gems"
        folders = [
            *gems.glob("*/lib"),
            DEBIAN / "lib" / "ruby" / "vendor_ruby",
            DEBIAN / "lib" / "ruby" / "3.1.0",
            libraries / "ruby" / "3.1.0",
        ]
        said = self._town.guests[name].machine.run(
            *("env", f"LD_LIBRARY_PATH={libraries}"),
            f"RUBYLIB={':'.join(map(str, folders))}",
            *(str(DEBIAN / "bin" / "ruby3.1"), "--disable-gems", "-rrubygems"),
            str(HERE / "facter_ask.rb"),
        )
        found: dict[str, Any] = json.loads(said)
        return found

    def debian(self, name: str, tool: str, *argv: str) -> str:
        """Run a program of Debian's packages; what it printed."""
        return self._town.guests[name].machine.run(str(DEBIAN / "bin" / tool), *argv)

    def save(self, name: str, path: str, file: Path) -> Path:
        """Write a body into a file, which is then returned."""
        assert 200 == self.curl(name, path, "-o", str(file))[0], path
        return file

    def close(self) -> None:
        """End what still runs."""
        for boot in self._boots:
            boot.process.kill()
            boot.process.communicate()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """The town; starting Nova takes some seconds, so there is one for all tests."""
    missing = [
        name
        for name in ("nova", "guest", "debian")
        if not (INSTALLED / name / ".made").exists()
    ]
    if missing:
        pytest.skip(f"{missing} not in {INSTALLED}: make test-clients installs them")
    town = Town(tmp_path_factory.mktemp("town"))
    try:
        town.build()
        yield town
    finally:
        town.close()


@pytest.fixture(scope="session")
def keystone(built: Town) -> Iterator[Keystone]:
    """A Keystone with the accounts of Nova and novajoin; setting it up takes some 20 s,
    so there is one for all tests, which leave it as they find it.
    """
    made = Keystone(built.lab, built.folder / "keystone")
    try:
        made.set_up()
        yield made
    finally:
        made.kill()


@pytest.fixture(scope="session")
def novajoin(built: Town, keystone: Keystone) -> Iterator[Novajoin]:
    """A novajoin that takes the agent for Nova."""
    made = Novajoin(built.lab, built.folder / "novajoin")
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="session")
def who(built: Town, keystone: Keystone) -> Iterator[WhoTarget]:
    """A target that says who asked."""
    made = WhoTarget(built.lab, built.folder / "who")
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def nothing_kept(built: Town) -> Iterator[None]:
    """The agent keeps no replies: every request reaches Nova, or fails with it."""
    with built.restarted(
        "<use-ssl>true</use-ssl>", "<cache-ttl>0</cache-ttl><use-ssl>true</use-ssl>"
    ):
        yield


@pytest.fixture
def town(built: Town) -> Iterator[Town]:
    """The town with a healthy Nova as upstream, nothing requested yet."""
    built.nova.heal()
    built.provision("nova")
    yield built
    built.nova.heal()


@pytest.fixture
def facts() -> Facts:
    """`facts[name]`, `facts.user_data(name)`, `facts.vendor_data`, checks."""
    return Facts()


@pytest.fixture
def clients(town: Town, tmp_path: Path) -> Iterator[Clients]:
    """Clients in the town's guests."""
    made = Clients(town, tmp_path)
    yield made
    made.close()
