"""What both upstreams know of three guests, and what clients must find of it."""

from __future__ import annotations

import base64
import gzip
from typing import Any

SCRIPT = b"#!/bin/sh\necho hello\n"
CLOUD_CONFIG = gzip.compress(b"#cloud-config\nlocale: C.UTF-8\n", mtime=0)
VENDOR_DATA = {"cloud-init": "#cloud-config\ntimezone: UTC\n"}


def fact(name: str, number: int, **more: Any) -> dict[str, Any]:
    """What both upstreams know of one guest."""
    return {
        "name": name,
        "hostname": f"{name}-vm",
        "uuid": f"1a2b3c00-0000-4000-8000-{number:012d}",
        "tenant_id": f"7e0000000000400080000000000000{number:02d}",
        "port_id": f"90e70000-0000-4000-8000-{number:012d}",
        "network_id": f"4e370000-0000-4000-8000-{number:012d}",
        "mac": f"02:00:00:00:01:{number:02d}",
        "address": "10.0.0.5",
        "network": "10.0.0.0/24",
        "gateway": "10.0.0.1",
        "key_name": f"{name}-key",
        "key": f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA{name} {name}@example",
        "meta": {"role": name},
        "availability_zone": "zone-1a",
        "security_groups": ["default"],
        **more,
    }


DEVICES = [
    {
        "vlan": 7,
        "vf_trusted": True,
        "type": "nic",
        "mac": "02:00:00:00:02:01",
        "bus": "pci",
        "address": "0000:00:03.0",
        "tags": ["mgmt"],
    },
    {
        "vf_trusted": False,
        "type": "nic",
        "mac": "02:00:00:00:02:02",
        "bus": "pci",
        "address": "0000:00:04.0",
    },
    {
        "type": "disk",
        "serial": "s-1",
        "path": "/dev/vdb",
        "bus": "scsi",
        "address": "1:0:2:0",
        "tags": ["db"],
    },
    {
        "type": "share",
        "share_id": "54a20000-0000-4000-8000-000000000001",
        "tag": "share",
        "bus": "none",
        "address": "none",
    },
]
"""As the newest version of meta_data.json shows them."""

FACTS = {
    "alice": fact("alice", 1, user_data_base64=base64.b64encode(CLOUD_CONFIG).decode()),
    "bob": fact(
        *("bob", 2),
        user_data_base64=base64.b64encode(SCRIPT).decode(),
        devices=DEVICES,
    ),
    "carol": fact(
        "carol", 3, address="192.0.2.9", network="192.0.2.0/24", gateway="192.0.2.1"
    ),
}


def network_data(known: dict[str, Any]) -> dict[str, Any]:
    """network_data.json as Nova makes it of one interface with a fixed address."""
    link = "tap" + known["port_id"][:11]
    route = {
        "network": "0.0.0.0",
        "netmask": "0.0.0.0",
        "gateway": known["gateway"],
    }
    return {
        "links": [
            {
                "id": link,
                "vif_id": known["port_id"],
                "type": "ovs",
                "mtu": 1450,
                "ethernet_mac_address": known["mac"],
            }
        ],
        "networks": [
            {
                "id": "network0",
                "type": "ipv4",
                "link": link,
                "ip_address": known["address"],
                "netmask": "255.255.255.0",
                "routes": [route],
                "network_id": known["network_id"],
                "services": [{"type": "dns", "address": "192.0.2.53"}],
            }
        ],
        "services": [{"type": "dns", "address": "192.0.2.53"}],
    }


OPTIONAL = ("user_data_base64", "devices")
"""What not every guest has."""


def document(known: dict[str, Any]) -> dict[str, Any]:
    """The same for the embedded server."""
    names = ("uuid", "tenant_id", "name", "hostname", "meta", "availability_zone")
    made = {name: known[name] for name in (*names, "security_groups")}
    made |= {name: known[name] for name in OPTIONAL if name in known}
    return {
        **made,
        "fixed_addresses": [known["address"]],
        "public_keys": {known["key_name"]: known["key"]},
        "network_data": network_data(known),
    }


class Facts:
    """What tests expect to be found."""

    vendor_data = VENDOR_DATA

    def __getitem__(self, name: str) -> dict[str, Any]:
        return FACTS[name]

    def user_data(self, name: str) -> bytes:
        """b"" for none."""
        return base64.b64decode(FACTS[name].get("user_data_base64", ""))

    def check(self, result: dict[str, Any], name: str) -> None:
        """It found the guest's own documents, as both datasources see them."""
        assert result["found"], result
        assert [FACTS[name]["key"]] == result["keys"]
        assert FACTS[name]["availability_zone"] == result["zone"]
        assert f"{name}-vm" in result["hostname"]
        assert self.user_data(name) == base64.b64decode(result["user_data"])

    def check_openstack(self, result: dict[str, Any], name: str) -> None:
        """And all that only the OpenStack datasource asks for."""
        known = FACTS[name]
        self.check(result, name)
        assert known["uuid"] == result["instance_id"]
        assert known["meta"]["role"] == result["metadata"]["meta"]["role"]
        assert known["uuid"] != result["ec2"]["instance-id"]
        assert known["address"] == result["ec2"]["local-ipv4"]
        (interface,) = [
            one for one in result["network"]["config"] if one["type"] == "physical"
        ]
        (subnet,) = interface["subnets"]
        assert (known["mac"], 1450) == (interface["mac_address"], interface["mtu"])
        assert (known["address"], known["gateway"]) == (
            subnet["address"],
            subnet["routes"][0]["gateway"],
        )
