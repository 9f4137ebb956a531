"""Statements and rows: what a database prints is what is read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from vagent.ctl.nova_import.rows import GROUPS_SQL, read_rows, statements
from vagent.errors import VagentError

UUID = "1a2b3c00-0000-4000-8000-000000000001"
IMAGE = "1a6e0000-0000-4000-8000-000000000001"
SCHEMA = """
CREATE TABLE instances (id, deleted, uuid, project_id, display_name, hostname,
  reservation_id, launch_index, availability_zone, key_name, key_data, user_data,
  image_ref, kernel_id, ramdisk_id, root_device_name, default_ephemeral_device,
  default_swap_device);
CREATE TABLE instance_extra (id, deleted, instance_uuid, flavor, keypairs,
  device_metadata, numa_topology);
CREATE TABLE instance_info_caches (id, deleted, instance_uuid, network_info);
CREATE TABLE instance_metadata (id, deleted, instance_uuid, `key`, value);
CREATE TABLE instance_system_metadata (id, deleted, instance_uuid, `key`, value);
CREATE TABLE block_device_mapping (id, deleted, instance_uuid, source_type,
  destination_type, guest_format, device_name);
CREATE TABLE instance_id_mappings (id, deleted, uuid);
CREATE TABLE s3_images (id, deleted, uuid);
"""


def printed(database: sqlite3.Connection, text: str) -> list[str]:
    """What a client prints of the statements."""
    found: list[str] = []
    for statement in filter(str.strip, text.split(";\n")):
        found += [line for (line,) in database.execute(statement)]
    return found


def insert(database: sqlite3.Connection, table: str, **values: Any) -> None:
    names = ", ".join(f"`{name}`" for name in values)
    marks = ", ".join("?" * len(values))
    text = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - a test's
    database.execute(text, tuple(values.values()))


@pytest.fixture
def nova() -> Iterator[sqlite3.Connection]:
    """One instance, one that is deleted, and what belongs to them."""
    made = sqlite3.connect(":memory:")
    made.executescript(SCHEMA)
    insert(made, "instances", id=1, deleted=0, uuid=UUID, display_name='a "☃"\n')
    insert(made, "instances", id=2, deleted=2, uuid="gone")
    insert(made, "instance_extra", id=1, deleted=0, instance_uuid=UUID, flavor="{}")
    insert(made, "instance_extra", id=2, deleted=2, instance_uuid="gone", flavor="{}")
    insert(made, "instance_info_caches", id=1, deleted=0, instance_uuid=UUID,
           network_info="[]")  # fmt: skip
    for number, (key, value) in enumerate([("b", "1"), ("a", None)]):
        insert(made, "instance_metadata", id=number, deleted=0, instance_uuid=UUID,
               key=key, value=value)  # fmt: skip
    for key in ("boot_roles", "password_0"):
        insert(made, "instance_system_metadata", id=1, deleted=0, instance_uuid=UUID,
               key=key, value=f"is {key}")  # fmt: skip
    for number, name in enumerate(["/dev/vdb", None]):
        insert(made, "block_device_mapping", id=9 - number, deleted=0,
               instance_uuid=UUID, device_name=name)  # fmt: skip
    insert(made, "instance_id_mappings", id=7, deleted=0, uuid=UUID)
    insert(made, "s3_images", id=3, deleted=0, uuid=IMAGE)
    yield made
    made.close()


def test_rows_of_a_database(nova: sqlite3.Connection) -> None:
    """Each value arrives as it is, the deleted instance does not, nor its password."""
    lines = printed(nova, statements())
    assert not [line for line in lines if "gone" in line or "password" in line]
    ((uuid, rows),) = read_rows([*lines, ""], "rows").items()
    assert (UUID, 'a "☃"\n') == (uuid, rows.instance["display_name"])
    assert {"boot_roles": "is boot_roles"} == {"boot_roles": rows.boot_roles}
    assert [("b", "1"), ("a", "")] == rows.metadata
    assert [None, "/dev/vdb"] == [one["device_name"] for one in rows.block_devices]
    assert (7, {IMAGE: 3}, "[]") == (rows.number, rows.ids, rows.network_info)
    assert "{}" == rows.extra["flavor"]
    assert rows.groups is None


def test_groups_of_neutron(nova: sqlite3.Connection) -> None:
    """One for each port and group, the id in place of an empty name; none for a
    router's port.
    """
    neutron = sqlite3.connect(":memory:")
    neutron.executescript(
        "CREATE TABLE ports (id, device_id, device_owner);"
        "CREATE TABLE securitygroupportbindings (port_id, security_group_id);"
        "CREATE TABLE securitygroups (id, name);"
    )
    for port, owner in (("p1", "compute:nova"), ("p2", "compute:nova"), ("p3", "r")):
        insert(neutron, "ports", id=port, device_id=UUID, device_owner=owner)
        for group in ("g1", "g2"):
            insert(neutron, "securitygroupportbindings", port_id=port,
                   security_group_id=group)  # fmt: skip
    insert(neutron, "securitygroups", id="g1", name="default")
    insert(neutron, "securitygroups", id="g2", name="")
    groups = printed(neutron, GROUPS_SQL)
    neutron.close()
    lines = [*printed(nova, statements()), *groups]
    assert ["g2", "default"] * 2 == read_rows(lines, "rows")[UUID].groups


def test_no_groups_is_not_the_same_as_no_rows_of_groups(
    nova: sqlite3.Connection,
) -> None:
    """With other instances' rows an instance without any has no group."""
    other = {"table": "security_groups", "instance_uuid": "other", "name": "x"}
    lines = [*printed(nova, statements()), json.dumps(other)]
    assert [] == read_rows(lines, "rows")[UUID].groups


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("nonsense", "rows: line 1: got no row, allowed is what `vagentctl instance"),
        ("[]", "rows: line 1: got no row"),
        ("{}", "rows: line 1: got no row"),
        ('{"table": "ports"}', "rows: line 1: ports: no table of Nova's"),
        ('{"table": "s3_images", "uuid": "a"}', "line 1: s3_images: no column id"),
    ],
)
def test_what_is_no_row(line: str, problem: str) -> None:
    """It is told by its line."""
    with pytest.raises(VagentError) as refusal:
        read_rows([line], "rows")
    assert problem in str(refusal.value)
