"""One instance's rows → its document, and what could not be taken over. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vagent.ctl.nova_import.network import addresses, is_injected, network_data
from vagent.ctl.nova_import.rows import InstanceRows, Row
from vagent.errors import VagentError

Json = Mapping[str, Any]

_BUSES = {
    "PCIDeviceBus": "pci",
    "USBDeviceBus": "usb",
    "SCSIDeviceBus": "scsi",
    "IDEDeviceBus": "ide",
    "XenDeviceBus": "xen",
}


def document_of(rows: InstanceRows) -> tuple[dict[str, Any], list[str]]:
    """The document, and what the embedded server will say otherwise than Nova. Raises
    VagentError for rows that Nova would not write.
    """
    try:
        return _document(rows), list(_losses(rows))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise VagentError(
            f"instance {rows.instance['uuid']}: the rows are not as Nova writes them"
            f" ({type(error).__name__}: {error})"
        ) from error


def _document(rows: InstanceRows) -> dict[str, Any]:
    row = rows.instance
    interfaces = _interfaces(rows)
    fixed, floating = addresses(interfaces)
    found = {
        "uuid": row["uuid"],
        "tenant_id": row["project_id"],
        "name": row["display_name"] or None,
        "hostname": row["hostname"],
        "ec2_instance_id": None if rows.number is None else f"i-{rows.number:08x}",
        "image_id": row["image_ref"] or None,
        "instance_type": _flavor(rows.extra),
        "security_groups": rows.groups,
        "fixed_addresses": fixed,
        "floating_addresses": floating,
        "block_devices": _block_devices(row, rows.block_devices),
        "dedicated_cpus": _cpus(rows.extra),
        "public_keys": _keys(row, rows.extra),
        "meta": dict(rows.metadata),
        "user_data_base64": row["user_data"],
        "network_data": network_data(interfaces),
        "devices": list(_devices(rows.extra)),
        "boot_roles": rows.boot_roles.split(",") if rows.boot_roles else None,
    }
    # What is null here is what Nova shows as unset.
    return {name: value for name, value in found.items() if value is not None} | {
        "reservation_id": row["reservation_id"],
        "launch_index": row["launch_index"],
        "availability_zone": row["availability_zone"],
        **_image("ami", "ami_id", row["image_ref"], rows.ids),
        **_image("aki", "kernel_id", row["kernel_id"], rows.ids),
        **_image("ari", "ramdisk_id", row["ramdisk_id"], rows.ids),
    }


def _losses(rows: InstanceRows) -> Iterator[str]:
    image = rows.instance["image_ref"]
    if rows.number is None:
        yield "Nova gave it no EC2 id yet; the server derives one"
    if image and image not in rows.ids:
        yield "Nova gave its image no EC2 id yet; the server derives one"
    if rows.groups is None:
        yield "no rows of its security groups; the server shows `default`"
    if is_injected(_interfaces(rows)):
        yield "Nova injects a network configuration; give it as network_config"


def _interfaces(rows: InstanceRows) -> Sequence[Json]:
    found: Sequence[Json] = json.loads(rows.network_info or "[]")
    return found


def _image(kind: str, field: str, image: str | None, ids: Mapping[str, int]) -> Json:
    """Left out where Nova has not numbered the image yet."""
    if not image:
        return {field: None}
    return {field: f"{kind}-{ids[image]:08x}"} if image in ids else {}


def _data(value: Json | None) -> Json:
    """The fields of one of Nova's versioned objects."""
    return {} if value is None else value["nova_object.data"]


def _part(extra: Row, name: str) -> Json | None:
    text = extra.get(name)
    found: Json | None = json.loads(text) if text else None
    return found


def _flavor(extra: Row) -> str | None:
    flavor = _part(extra, "flavor")
    return None if flavor is None else str(_data(flavor["cur"])["name"])


def _cpus(extra: Row) -> list[int]:
    cells = _data(_part(extra, "numa_topology")).get("cells") or ()
    sets = [_data(cell).get("pcpuset") or () for cell in cells]
    return sorted(cpu for each in sets for cpu in each)


def _keys(row: Row, extra: Row) -> Json:
    name = row["key_name"]
    if not name:
        return {}
    pairs = _data(_part(extra, "keypairs")).get("objects") or ()
    if not pairs:
        return {name: {"data": row["key_data"] or "", "deleted": True}}
    pair = _data(pairs[0])
    return {name: {"data": pair["public_key"] or "", "type": pair["type"]}}


def _block_devices(row: Row, devices: Sequence[Row]) -> dict[str, str | None] | None:
    """As nova/block_device.py maps them."""
    root = row["root_device_name"]
    if root is None:
        return {
            "ami": "sda1",
            "ephemeral0": "sda2",
            "root": "/dev/sda1",
            "swap": "sda3",
        }
    found: dict[str, str | None] = {"ami": root.removeprefix("/dev/"), "root": root}
    for name, column in (
        ("ephemeral0", "default_ephemeral_device"),
        ("swap", "default_swap_device"),
    ):
        if row[column]:
            found[name] = row[column]
    volumes = [one for one in devices if one["destination_type"] == "volume"]
    blanks = [
        one for one in devices if one not in volumes and one["source_type"] == "blank"
    ]
    names = [one["device_name"] for one in volumes]
    names.sort(key=lambda name: (name is not None, name))
    found |= {f"ebs{number}": name for number, name in enumerate(names)}
    swaps = [one for one in blanks if one["guest_format"] == "swap"]
    if swaps:
        found["swap"] = swaps[-1]["device_name"]
    ephemerals = [one for one in blanks if one not in swaps]
    for number, one in enumerate(ephemerals):
        found[f"ephemeral{number}"] = one["device_name"]
    return found


def _devices(extra: Row) -> Iterator[Json]:
    for device in _data(_part(extra, "device_metadata")).get("devices") or ():
        kind, data = device["nova_object.name"], _data(device)
        shown = _shown(kind, data)
        bus = data.get("bus")
        bus_name = "none" if bus is None else _BUSES.get(bus["nova_object.name"])
        if shown is None or bus_name is None:
            continue
        address = _data(bus).get("address", "none")
        tags = {"tags": data["tags"]} if "tags" in data else {}
        yield {**shown, "bus": bus_name, "address": address, **tags}


def _shown(kind: str, data: Json) -> dict[str, Any] | None:
    """What comes before bus and address; None for a kind that Nova does not show."""
    match kind:
        case "NetworkInterfaceMetadata":
            vlan = data.get("vlan")
            return {
                **({} if vlan is None else {"vlan": vlan}),
                "vf_trusted": data.get("vf_trusted", False),
                "type": "nic",
                "mac": data["mac"],
            }
        case "DiskMetadata":
            named = [name for name in ("serial", "path") if name in data]
            return {"type": "disk", **{name: data[name] for name in named}}
        case "ShareMetadata":
            return {"type": "share", "share_id": data["share_id"], "tag": data["tag"]}
        case _:
            return None
