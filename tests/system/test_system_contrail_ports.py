"""Port files of Contrail's tools, with a real agent that comes and goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.agent import configuration
from lab.waiting import wait_for

pytestmark = pytest.mark.system

PORT = {
    "id": "93c2c386-6e79-485e-bfa4-b9daa713133b",
    "instance-id": "32d0524b-314d-4594-b3a3-607e3f2354f8",
    "vn-id": "12345678-1234-1234-1234-123456789abc",
    "vm-project-id": "00112233-4455-6677-8899-aabbccddeeff",
    "display-name": "web-1",
    "ip-address": "10.9.9.9",
    "ip6-address": "None",
    "mac-address": "02:93:c2:c3:86:6e",
    "system-name": "tap93c2c386-6e",
    "type": 0,
    "rx-vlan-id": -1,
    "tx-vlan-id": -1,
    "vhostuser-mode": None,
}


@pytest.fixture
def folder(idle_site: Any) -> Path:
    """The folder of Contrail's tools that this agent has; not there yet."""
    path: Path = idle_site.folder / "contrail/ports"
    idle_site.agent.config = configuration(
        idle_site.folder,
        extra=f"<contrail-ports-directory>{path}</contrail-ports-directory>",
    )
    return path


def write(folder: Path, **members: str) -> Path:
    """What vrouter-port-control does before it calls the port API, which it takes for
    done if nobody listens.
    """
    path = folder / str(PORT["id"])
    path.write_text(json.dumps(PORT | members))
    return path


def ports(site: Any) -> list[str]:
    """The ports that the agent has."""
    return [
        each["id"] for each in json.loads(site.agent.get("http://127.0.0.1:9091/ports"))
    ]


@pytest.mark.parametrize("is_link", [True, False], ids=["link", "directory"])
def test_what_changed_while_the_agent_was_away_is_right_after_its_start(
    idle_site: Any, folder: Path, *, is_link: bool
) -> None:
    """A port that was added, and one that was deleted; and what changes while it runs
    without a call, as in the moment in which it starts.
    """
    site = idle_site
    if not is_link:
        folder.mkdir(parents=True, mode=0o755)
    site.agent.start()
    assert is_link == folder.is_symlink()
    site.agent.stop()
    file = write(folder)
    site.agent.start()
    assert [PORT["id"]] == ports(site)
    site.agent.stop()
    file.unlink()
    site.agent.start()
    assert [] == ports(site)
    if is_link:
        return
    write(folder)
    wait_for(lambda: ports(site) == [PORT["id"]])
    file.unlink()
    wait_for(lambda: ports(site) == [])
    traced = site.agent.tool("vagent.ctl", "trace", "Ports")
    assert "1 ports added, 0 removed, as their files were" in traced


def test_the_api_and_the_folder_do_not_disagree(idle_site: Any, folder: Path) -> None:
    """A port that was deleted by the API does not come back."""
    site = idle_site
    folder.mkdir(parents=True, mode=0o755)
    file = write(folder)
    site.agent.start()
    url = f"http://127.0.0.1:9091/port/{PORT['id']}"
    assert "{}" == site.agent.get(url, "-X", "DELETE")
    assert not file.exists()
    site.agent.stop()
    site.agent.start()
    assert [] == ports(site)


def test_an_interface_of_the_agent_is_refused_as_a_tap(
    idle_site: Any, folder: Path
) -> None:
    """By the API, and in a file that was there at the start: it is said, and left. A
    chain at such an interface would take every guest's packets.
    """
    site = idle_site
    folder.mkdir(parents=True, mode=0o755)
    file = write(folder, **{"system-name": "vagent0"})
    site.agent.start()
    why = "is an interface of the agent itself"
    assert f"tap vagent0 {why}" in site.agent.tool("vagent.ctl", "trace", "Ports")
    for tap in ("vagent0", "vagentu"):
        body = json.dumps(PORT | {"system-name": tap})
        said = site.agent.get("http://127.0.0.1:9091/port", "-d", body)
        assert f"tap {tap} {why}" in said
    assert [] == ports(site)
    assert file.exists()


def test_the_doctor_explains_a_folder_that_is_not_seen(
    idle_site: Any, folder: Path
) -> None:
    """And what mends it does."""
    site = idle_site
    elsewhere = site.folder / "elsewhere"
    elsewhere.mkdir()
    folder.parent.mkdir()
    folder.symlink_to(elsewhere)
    site.agent.start()

    def found() -> list[Any]:
        argv = ("vagent.ctl", "-o", "json", "--config", str(site.agent.conf), "doctor")
        checks = json.loads(site.agent.tool(*argv, check=False))["checks"]
        return [
            finding
            for check in checks
            for finding in check["findings"]
            if str(folder) in finding["what"]
        ]

    (finding,) = found()
    assert f"is a link to {elsewhere}" in finding["what"]
    folder.unlink()
    site.agent.stop()
    site.agent.start()
    assert [] == found()


def test_an_agent_with_another_state_directory_leaves_the_hosts_alone(
    idle_site: Any,
) -> None:
    """Labs, tests, a second agent: Contrail's folder is off by default."""
    host = Path("/var/lib/contrail")
    before = host.exists()
    idle_site.agent.start()
    assert before == host.exists()
    conf = str(idle_site.agent.conf)
    shown = idle_site.lab.host.run(
        *(sys.executable, "-m", "vagent.cli", "--config", conf, "--dump-config")
    )
    assert "<contrail-ports-directory>off</contrail-ports-directory>" in shown
