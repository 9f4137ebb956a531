"""Instances as files: a guest gets what its file says, a whole agent between them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.guests import Guest
from lab.namespaces import LabError
from lab.waiting import wait_for

pytestmark = pytest.mark.system

Ask = Callable[..., str]


def write(path: Path, guest: Guest, name: str) -> None:
    """As an operator should: another name first, then renamed into place."""
    new = path.with_name(f".{path.name}")
    new.write_text(
        f"# {guest.name}\nuuid: {guest.instance_id}\ntenant_id: {guest.tenant_id}\n"
        f"name: {name}\nuser_data: |\n  #cloud-config\n"
    )
    new.rename(path)


@pytest.mark.parametrize(
    "tenant", ["Project 7/b", "7E000000-0000-4000-8000-00000000000A"]
)
def test_a_project_that_is_no_plain_uuid(site: Any, ask: Ask, tenant: str) -> None:
    """Port and instance say it letter for letter, and so does the proxy, also after a
    restart.
    """
    alice = dataclasses.replace(site.alice(), tenant_id=tenant)
    site.introduce(alice)
    site.provision()
    path = "/openstack/latest/meta_data.json"
    assert tenant == json.loads(ask(alice, path))["project_id"]
    site.agent.stop()
    site.agent.start()
    assert tenant == json.loads(ask(alice, path))["project_id"]


def test_guests_get_what_their_files_say(idle_site: Any, ask: Ask) -> None:
    """Before the start, new, changed, broken, mended and removed files; the other
    guest, described by the API, has its own all the time, and a restart its place.
    """
    site = idle_site
    folder = site.folder / "instances"
    folder.mkdir(parents=True)
    wish = f"<instance-directory>{folder}</instance-directory></metadata-server>"
    site.agent.config = site.agent.config.replace("</metadata-server>", wish)
    alice, bob = site.alice(), site.bob()
    file = folder / "alice.yaml"
    write(file, alice, "from-the-start")
    site.agent.start()
    site.agent.register(alice)
    site.introduce(bob)
    site.provision()

    def names() -> tuple[str, str]:
        hostname = "/latest/meta-data/hostname"
        found = [ask(guest, hostname).partition(".")[0] for guest in (alice, bob)]
        return found[0], found[1]

    assert ("from-the-start", "bob") == names()
    assert "#cloud-config\n" == ask(alice, "/openstack/latest/user_data")
    write(file, alice, "changed")
    assert ("changed", "bob") == names()
    file.write_text(f"uuid: {alice.instance_id}\nname: [")
    assert ("changed", "bob") == names()

    def listed() -> Any:
        text = site.agent.tool("vagent.ctl", "-o", "json", "instance", "list")
        return {row["uuid"]: row for row in json.loads(text)}

    wait_for(lambda: "problem" in listed()[alice.instance_id], seconds=40)
    problem = listed()[alice.instance_id]["problem"]
    assert "line 3, column 1: did not find expected node content" in problem
    assert problem in site.agent.log.read_text()
    write(file, alice, "mended")
    assert ("mended", "bob") == names()
    shown = site.agent.tool("vagent.ctl", "-o", "json", "instance", "show",
                            alice.instance_id)  # fmt: skip
    assert "mended" == json.loads(shown)["name"]
    with pytest.raises(LabError, match=r"alice\.yaml describes it; change or remove"):
        site.introduce(alice)
    site.agent.stop()
    site.agent.start()
    assert ("mended", "bob") == names()
    file.unlink()
    assert "404" in ask(alice, "/latest/meta-data/hostname", "-i").splitlines()[0]
