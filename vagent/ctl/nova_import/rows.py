"""What is read of Nova's databases: the statements, and the rows that they print.

Each row is a line, a JSON object that names its table. The statements are read alike by
MySQL, MariaDB and SQLite. Tables and columns are Nova's (nova/db/main/models.py, 34).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vagent.errors import VagentError

Row = Mapping[str, Any]

_COLUMNS = {
    "instances": (
        *("uuid", "project_id", "display_name", "hostname", "reservation_id"),
        *("launch_index", "availability_zone", "key_name", "key_data", "user_data"),
        *("image_ref", "kernel_id", "ramdisk_id", "root_device_name"),
        *("default_ephemeral_device", "default_swap_device"),
    ),
    "instance_extra": (
        *("instance_uuid", "flavor", "keypairs", "device_metadata", "numa_topology"),
    ),
    "instance_info_caches": ("instance_uuid", "network_info"),
    "instance_metadata": ("instance_uuid", "key", "value"),
    "instance_system_metadata": ("instance_uuid", "key", "value"),
    "block_device_mapping": (
        *("instance_uuid", "source_type", "destination_type", "guest_format"),
        "device_name",
    ),
    "instance_id_mappings": ("uuid", "id"),
    "s3_images": ("uuid", "id"),
}
_ONLY = {"instance_system_metadata": " AND `key` = 'boot_roles'"}
GROUPS = "security_groups"
"""The table that rows of Neutron's database are said to be of."""
GROUPS_SQL = """\
SELECT JSON_OBJECT('table', 'security_groups',
  'instance_uuid', p.device_id,
  'name', CASE WHEN g.name = '' THEN g.id ELSE g.name END)
  FROM ports p
  JOIN securitygroupportbindings b ON b.port_id = p.id
  JOIN securitygroups g ON g.id = b.security_group_id
  WHERE p.device_owner LIKE 'compute:%'
  ORDER BY p.device_id, p.id, g.name;
"""
"""For Neutron's database: Nova has no groups of its own."""


def statements() -> str:
    """The statements for the database of a cell."""
    return "".join(_statement(table, names) for table, names in _COLUMNS.items())


def _statement(table: str, names: tuple[str, ...]) -> str:
    pairs = "".join(f",\n  '{name}', `{name}`" for name in names)
    return (
        f"SELECT JSON_OBJECT('table', '{table}'{pairs})\n"  # noqa: S608 - all ours
        f"  FROM {table} WHERE deleted = 0{_ONLY.get(table, '')} ORDER BY id;\n"
    )


@dataclass(slots=True)
class InstanceRows:
    """What the databases hold of one instance. `ids` are numbers of images by UUID;
    `groups` is None where there are no rows of groups at all.
    """

    instance: Row
    ids: Mapping[str, int]
    number: int | None = None
    extra: Row = field(default_factory=dict)
    network_info: str | None = None
    metadata: list[tuple[str, str]] = field(default_factory=list)
    boot_roles: str | None = None
    block_devices: list[Row] = field(default_factory=list)
    groups: list[str] | None = None


def read_rows(lines: Iterable[str], where: str) -> dict[str, InstanceRows]:
    """Instances by UUID, in the order of the rows. Raises VagentError."""
    tables: dict[str, list[Row]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = _row(line, f"{where}: line {number}")
            tables.setdefault(row["table"], []).append(row)
    ids = {row["uuid"]: row["id"] for row in tables.get("s3_images", ())}
    found = {
        row["uuid"]: InstanceRows(row, ids, groups=[] if GROUPS in tables else None)
        for row in tables.get("instances", ())
    }
    for table, rows in tables.items():
        for row in rows:
            key = "uuid" if table == "instance_id_mappings" else "instance_uuid"
            instance = found.get(row.get(key))
            if instance is not None:
                _add(instance, table, row)
    return found


def _row(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("table"), str):
        raise VagentError(
            f"{where}: got no row, allowed is what `vagentctl instance import --sql`"
            ' makes a database print: a JSON object with a "table"'
        )
    missing = [name for name in _COLUMNS.get(row["table"], ()) if name not in row]
    if missing or (row["table"] not in _COLUMNS and row["table"] != GROUPS):
        problem = f"no column {missing[0]}" if missing else "no table of Nova's"
        raise VagentError(f"{where}: {row['table']}: {problem}")
    return row


def _add(rows: InstanceRows, table: str, row: Row) -> None:
    match table:
        case "instance_id_mappings":
            rows.number = row["id"]
        case "instance_extra":
            rows.extra = row
        case "instance_info_caches":
            rows.network_info = row["network_info"]
        case "instance_metadata":
            rows.metadata.append((row["key"], row["value"] or ""))
        case "instance_system_metadata":
            rows.boot_roles = row["value"]
        case "block_device_mapping":
            rows.block_devices.append(row)
        case _ if rows.groups is not None:  # as Nova has them: once for each port
            rows.groups.append(str(row["name"]))
