"""Instances of a running Nova, moved to the embedded server: guests see no difference.

The rows are read from Nova's own database with the statements that vagentctl prints.
"""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

PATHS = (
    "/openstack/latest",
    "/openstack/latest/meta_data.json",
    "/openstack/2016-06-30/meta_data.json",
    "/openstack/latest/network_data.json",
    *(
        f"/latest/meta-data/{name}"
        for name in (
            *("hostname", "instance-id", "ami-id", "local-ipv4", "reservation-id"),
            *("instance-type", "security-groups", "public-keys/0/openssh-key"),
            *("block-device-mapping/", "placement/availability-zone"),
        )
    ),
)


def rows(town: Any, folder: Path) -> Path:
    """What a database client and Neutron's operator give to vagentctl."""
    database = sqlite3.connect(folder / "nova" / "nova.sqlite")
    text = town.agent.tool("vagent.ctl", "instance", "import", "--sql")
    lines = [
        line
        for statement in filter(str.strip, text.split(";\n"))
        for (line,) in database.execute(statement)
    ]
    database.close()
    neutron = json.loads((folder / "nova" / "neutron.json").read_text())
    names = {group["id"]: group["name"] for group in neutron["security_groups"]}
    lines += [
        json.dumps(
            {
                "table": "security_groups",
                "instance_uuid": port["device_id"],
                "name": names[group],
            }
        )
        for port in neutron["ports"]
        for group in port["security_groups"]
    ]
    file = folder / "rows"
    file.write_text("\n".join(lines))
    return file


def answers(clients: Any, name: str, folder: Path) -> dict[str, Any]:
    """Status and body, without what is random in it."""
    found = {path: clients.curl(name, path) for path in PATHS}
    seed = re.compile('"random_seed": "[^"]*"')
    shown = {
        path: (status, seed.sub("", body)) for path, (status, body) in found.items()
    }
    file = folder / "user-data"
    status, _ = clients.curl(name, "/openstack/latest/user_data", "-o", str(file))
    return {**shown, "user data": (status, file.read_bytes())}


def test_an_imported_instance_is_the_same(
    town: Any, clients: Any, tmp_path: Path
) -> None:
    """Every document of each guest, from Nova and then from the embedded server."""
    names = ("alice", "bob", "carol")
    uuids = [town.guests[name].instance_id for name in names]
    before = [
        town.agent.tool("vagent.ctl", "-o", "json", "instance", "show", uuid)
        for uuid in uuids
    ]
    by_nova = {name: answers(clients, name, tmp_path) for name in names}
    assert 200 == by_nova["alice"]["/openstack/latest/meta_data.json"][0]
    try:
        said = town.agent.tool(
            "vagent.ctl", "instance", "import", str(rows(town, town.folder)), *uuids
        )
        assert all(uuid in said for uuid in uuids)
        town.provision("embedded")
        assert by_nova == {name: answers(clients, name, tmp_path) for name in names}
    finally:
        for text in before:
            file = town.folder / "before.json"
            file.write_text(text)
            town.agent.tool("vagent.ctl", "instance", "add", str(file))
