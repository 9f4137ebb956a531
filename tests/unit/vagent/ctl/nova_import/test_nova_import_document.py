"""Documents of rows, beyond what the recorded instances show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vagent.ctl.nova_import.document import document_of
from vagent.ctl.nova_import.rows import InstanceRows
from vagent.errors import VagentError
from vagent.nova.codec import decode_instance

UUID = "1a2b3c00-0000-4000-8000-000000000001"
ROW: dict[str, Any] = {
    "uuid": UUID, "project_id": "p", "display_name": "a", "hostname": "a",
    "reservation_id": "r-1", "launch_index": 0, "availability_zone": None,
    "key_name": None, "key_data": None, "user_data": None, "image_ref": "",
    "kernel_id": None, "ramdisk_id": None, "root_device_name": "/dev/vda",
    "default_ephemeral_device": None, "default_swap_device": None,
}  # fmt: skip


def made(name: str, data: Any) -> dict[str, Any]:
    """One of Nova's versioned objects."""
    return {"nova_object.name": name, "nova_object.data": data}


def document(rows: InstanceRows) -> dict[str, Any]:
    found = document_of(rows)[0]
    decode_instance(found)
    return found


def with_devices(*devices: dict[str, Any]) -> Any:
    metadata = made("InstanceDeviceMetadata", {"devices": list(devices)})
    extra = {"device_metadata": json.dumps(metadata)}
    return document(InstanceRows(ROW, {}, extra=extra))["devices"]


def test_an_instance_without_anything() -> None:
    """It can be served, and what is not known is left to the server."""
    found = document(InstanceRows(ROW, {}))
    assert (None, None) == (found["ami_id"], found["availability_zone"])
    absent = {"instance_type", "ec2_instance_id", "security_groups", "boot_roles"}
    assert not absent & set(found)
    assert {} == found["network_data"]


@pytest.mark.parametrize("name", ["USB", "SCSI", "IDE", "Xen", "PCI"])
def test_buses(name: str) -> None:
    """Each has its short name."""
    bus = made(f"{name}DeviceBus", {"address": "1"})
    (device,) = with_devices(made("DiskMetadata", {"bus": bus}))
    assert {"type": "disk", "bus": name.lower(), "address": "1"} == device


def test_devices_that_nova_does_not_show() -> None:
    """An unknown kind or bus; a bus without address is shown as none."""
    unknown = made("NewBus", {"address": "1"})
    assert [] == with_devices(
        made("NewMetadata", {"mac": "a"}), made("DiskMetadata", {"bus": unknown})
    )
    (device,) = with_devices(
        made("NetworkInterfaceMetadata", {"mac": "a", "bus": made("PCIDeviceBus", {})})
    )
    assert {
        "vf_trusted": False, "type": "nic", "mac": "a", "bus": "pci", "address": "none"
    } == device  # fmt: skip


def test_several_ephemeral_disks_and_swaps() -> None:
    """They are numbered in the order of their rows; the last swap counts."""

    def blank(name: str, kind: str = "ext4") -> dict[str, Any]:
        return {"destination_type": "local", "source_type": "blank",
                "guest_format": kind, "device_name": name}  # fmt: skip

    devices = [blank("/dev/vdc"), blank("b", "swap"), blank("/dev/vdb"),
               blank("c", "swap")]  # fmt: skip
    found = document(InstanceRows(ROW, {}, block_devices=list(devices)))
    assert found["block_devices"] == {
        "ami": "vda", "root": "/dev/vda", "ephemeral0": "/dev/vdc",
        "ephemeral1": "/dev/vdb", "swap": "c",
    }  # fmt: skip


def test_what_is_lost() -> None:
    """Each is told; a number that Nova has not given is left to the server."""
    network = {"id": "n", "subnets": [], "meta": {"injected": True}}
    rows = InstanceRows(
        {**ROW, "image_ref": "i", "kernel_id": "k"},
        {"k": 3},
        network_info=json.dumps([{"id": "v", "network": network}]),
    )
    found, losses = document_of(rows)
    assert ("aki-00000003", False) == (found["kernel_id"], "ami_id" in found)
    assert [
        "Nova gave it no EC2 id yet; the server derives one",
        "Nova gave its image no EC2 id yet; the server derives one",
        "no rows of its security groups; the server shows `default`",
        "Nova injects a network configuration; give it as network_config",
    ] == losses
    complete = InstanceRows(ROW, {}, number=1, groups=[], boot_roles="a,b")
    assert [] == document_of(complete)[1]
    assert ["a", "b"] == document_of(complete)[0]["boot_roles"]


@pytest.mark.parametrize(
    "change",
    [
        {"network_info": "no JSON"},
        {"network_info": '[{"network": {"subnets": [{"version": 4, "ips": [{}]}]}}]'},
        {"extra": {"flavor": "[]"}},
        {"extra": {"flavor": "{}"}},
        {"extra": {"device_metadata": "{}"}},
    ],
)
def test_rows_that_nova_would_not_write(change: dict[str, Any]) -> None:
    """They are told, with the instance."""
    with pytest.raises(VagentError, match=f"instance {UUID}: the rows are not as Nova"):
        document_of(InstanceRows(ROW, {}, **change))
