"""Runs in Nova's own environment: makes its databases and fills them.

`nova_seed.py nova.conf facts.json neutron.json`: reads the facts, writes with Nova's
own objects, and tells the stand-in for Neutron which ports and groups there are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid4, uuid5

from nova import monkey_patch

monkey_patch.patch(backend="threading")

from nova import config, context, objects  # noqa: E402 - Nova must be patched first
from nova.db import migration  # noqa: E402
from nova.network import model  # noqa: E402

USER = "b" * 32
IMAGE = "1a6e0000-0000-4000-8000-000000000001"
Fact = dict[str, Any]


def make_databases(admin: Any, folder: Path) -> Any:
    """The API's database, and one cell beside the obligatory one for failures."""
    migration.db_sync(database="api")
    migration.db_sync(database="main")
    names = {"cell0": objects.CellMapping.CELL0_UUID, "cell1": str(uuid4())}
    cells = [
        objects.CellMapping(
            admin,
            uuid=uuid,
            name=name,
            transport_url="fake:/",
            database_connection=f"sqlite:///{folder}/nova.sqlite",
        )
        for name, uuid in names.items()
    ]
    for cell in cells:
        cell.create()
    return cells[1]


def group_id(name: str) -> str:
    return str(uuid5(NAMESPACE_DNS, f"{name}.group.test"))


def interface(fact: Fact) -> Any:
    subnet = model.Subnet(
        cidr=fact["network"],
        gateway=model.IP(address=fact["gateway"], type="gateway"),
        dns=[model.IP(address="192.0.2.53", type="dns")],
        ips=[model.FixedIP(address=fact["address"], floating_ips=[])],
        routes=[],
        enable_dhcp=False,
        version=4,
    )
    return model.VIF(
        id=fact["port_id"],
        address=fact["mac"],
        network=model.Network(
            id=fact["network_id"],
            bridge="br-int",
            label="net",
            subnets=[subnet],
            injected=False,
            mtu=1450,
            tenant_id=fact["tenant_id"],
        ),
        type="ovs",
        devname="tap" + fact["port_id"][:11],
        active=True,
        vnic_type="normal",
        profile={},
        details={},
    )


def flavor(admin: Any) -> Any:
    made = objects.Flavor(
        admin, name="m1.tiny", flavorid="1", vcpus=1, memory_mb=512, root_gb=1,
        ephemeral_gb=0, swap=0, rxtx_factor=1.0, vcpu_weight=0, disabled=False,
        is_public=True, extra_specs={}, projects=[],
    )  # fmt: skip
    made.create()
    return objects.Flavor.get_by_name(admin, "m1.tiny")


def device(known: Fact) -> Any:
    """A tagged device of Nova's, from what meta_data.json is to show of it."""
    buses = {"pci": objects.PCIDeviceBus, "scsi": objects.SCSIDeviceBus}
    kinds = {
        "nic": objects.NetworkInterfaceMetadata,
        "disk": objects.DiskMetadata,
        "share": objects.ShareMetadata,
    }
    rest = {
        name: value
        for name, value in known.items()
        if name not in ("type", "bus", "address")
    }
    if known["bus"] in buses:
        rest["bus"] = buses[known["bus"]](address=known["address"])
    return kinds[known["type"]](**rest)


def instance(cell_context: Any, fact: Fact, kind: Any) -> None:
    made = objects.Instance(
        cell_context, uuid=fact["uuid"], user_id=USER, project_id=fact["tenant_id"],
        reservation_id="r-0abc0001", display_name=fact["name"],
        display_description="", hostname=fact["hostname"], host="compute-1",
        vm_state="active", power_state=1, task_state=None, launch_index=0,
        image_ref=IMAGE, kernel_id=None, ramdisk_id=None, root_device_name="/dev/vda",
        default_ephemeral_device=None, default_swap_device=None,
        user_data=fact.get("user_data_base64"),
        availability_zone=fact["availability_zone"], metadata=fact["meta"],
        key_name=fact["key_name"], key_data=fact["key"], config_drive="", locked=False,
        system_metadata={"image_base_image_ref": IMAGE, "image_min_disk": "1"},
    )  # fmt: skip
    if "devices" in fact:
        devices = [device(one) for one in fact["devices"]]
        made.device_metadata = objects.InstanceDeviceMetadata(devices=devices)
    made.flavor, made.old_flavor, made.new_flavor = kind, None, None
    made.instance_type_id, made.memory_mb, made.vcpus = kind.id, 512, 1
    made.root_gb, made.ephemeral_gb = 1, 0
    made.info_cache = objects.InstanceInfoCache(
        cell_context,
        instance_uuid=fact["uuid"],
        network_info=model.NetworkInfo([interface(fact)]),
    )
    made.security_groups = objects.SecurityGroupList()
    key = objects.KeyPair(
        name=fact["key_name"], user_id=USER, type="ssh", public_key=fact["key"],
        fingerprint="00:11",
    )  # fmt: skip
    made.keypairs = objects.KeyPairList(objects=[key])
    made.create()


def neutron_port(fact: Fact) -> Fact:
    return {
        "id": fact["port_id"],
        "device_id": fact["uuid"],
        "network_id": fact["network_id"],
        "tenant_id": fact["tenant_id"],
        "mac_address": fact["mac"],
        "fixed_ips": [{"subnet_id": "s", "ip_address": fact["address"]}],
        "security_groups": [group_id(name) for name in fact["security_groups"]],
    }


def main() -> None:
    conf, facts_file, neutron = map(Path, sys.argv[1:4])
    config.parse_args(["seed", "--config-file", str(conf)])
    objects.register_all()
    admin = context.RequestContext(user_id=USER, project_id="c" * 32, is_admin=True)
    cell = make_databases(admin, conf.parent)
    facts: list[Fact] = json.loads(facts_file.read_text())
    kind = flavor(admin)
    for fact in facts:
        owner = context.RequestContext(
            user_id=USER, project_id=fact["tenant_id"], is_admin=True
        )
        with context.target_cell(owner, cell) as cell_context:
            instance(cell_context, fact, kind)
        objects.InstanceMapping(
            owner, instance_uuid=fact["uuid"], project_id=fact["tenant_id"],
            user_id=USER, cell_mapping=cell, queued_for_delete=False,
        ).create()  # fmt: skip
    names = sorted({name for fact in facts for name in fact["security_groups"]})
    groups = [{"id": group_id(name), "name": name} for name in names]
    ports = [neutron_port(fact) for fact in facts]
    neutron.write_text(json.dumps({"ports": ports, "security_groups": groups}))


main()
