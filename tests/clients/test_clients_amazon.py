"""Clients made for Amazon's cloud find what they need in the embedded server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.system

NAME = "alice"
NO_BASE64 = {"user_data_base64": None}
"""Leaves out a member."""
MACS = "/latest/meta-data/network/interfaces/macs/"


@pytest.fixture(autouse=True)
def embedded(town: Any) -> Iterator[None]:
    """The embedded server, and a document with a region."""
    town.provision("embedded")
    town.describe(NAME, region="eu-west-1", availability_zone="eu-west-1b")
    yield
    town.describe(NAME)


def test_botocore_finds_the_region(town: Any, clients: Any) -> None:
    """It asks for the zone; where only the region is given, it is right as well."""
    assert "eu-west-1" == clients.python(NAME, "botocore_ask.py")["region"]
    town.describe(NAME, region="us-test-2", availability_zone=None)
    assert "us-test-2" == clients.python(NAME, "botocore_ask.py")["region"]


def test_ec2_metadata_of_pypi(clients: Any, facts: Any) -> None:
    """All of its attributes, those of the interface too; none of a role's."""
    found = clients.python(NAME, "ec2_metadata_ask.py")
    known = facts[NAME]
    wrong = {name: one for name, one in found.items() if "error" in str(one)}
    assert {} == wrong
    assert ("eu-west-1", "eu-west-1b") == (found["region"], found["availability_zone"])
    assert known["tenant_id"] == found["account_id"]
    assert {known["mac"]} == set(found["network_interfaces"])
    interface = found["network_interfaces"][known["mac"]]
    assert [known["address"]] == interface["private_ipv4s"]
    assert known["network"] == interface["subnet_ipv4_cidr_block"]
    assert known["meta"] == found["tags"]
    assert ("aws", "novalocal") == (found["partition"], found["domain"])
    assert found["iam_info"] is None
    assert facts.user_data(NAME) == found["user_data"].encode("latin-1")


def test_ec2_metadata_of_amazon(clients: Any, facts: Any) -> None:
    """The shell script of amazon-ec2-utils: instance, zone, key, tags."""
    said = clients.debian(NAME, "ec2-metadata", "-i", "-z", "-u", "-g")
    lines = [line.strip() for line in said.splitlines()]
    _, instance_id = clients.curl(NAME, "/latest/meta-data/instance-id")
    assert f"instance-id: {instance_id}" in lines
    assert "placement: eu-west-1b" in lines
    assert facts[NAME]["key"] in lines
    assert f"role: {NAME}" in lines


def test_ec2metadata_of_cloud_utils(clients: Any) -> None:
    """It asks a version of Nova's, and prints what is there."""
    said = clients.debian(
        NAME, "ec2metadata", "--availability-zone", "--local-hostname"
    )
    assert "eu-west-1b\nalice-vm.novalocal\n" == said


def test_facter(clients: Any, town: Any) -> None:
    """The whole tree, and user data, with a session token."""
    town.describe(NAME, region="eu-west-1", user_data="#!/bin/sh\n", **NO_BASE64)
    found = clients.facter(NAME)
    metadata = found["metadata"]
    assert "alice-vm.novalocal" == metadata["hostname"]
    assert "zone-1a" == metadata["placement"]["availability-zone"]
    assert ["0"] == list(metadata["public-keys"])
    assert "#!/bin/sh" == found["userdata"]


def test_cloud_init_on_amazon_s_smbios(clients: Any, facts: Any, town: Any) -> None:
    """The newest version, network and identity document are found, without a retry."""
    town.register(town.guests[NAME])
    result = clients.boot(NAME, "Ec2-aws").result()
    known = facts[NAME]
    assert result["found"]
    assert result["seconds"] < 5, "nothing may cost a retry"
    assert [known["key"]] == result["keys"]
    assert result["metadata"]["instance-id"] == result["instance_id"]
    assert result["instance_id"] == result["identity"]["instanceId"]
    macs = result["metadata"]["network"]["interfaces"]["macs"]
    assert known["address"] == macs[known["mac"]]["local-ipv4s"]
    (nic,) = result["network"]["ethernets"].values()
    assert {"macaddress": known["mac"]} == nic["match"]


def test_a_guest_without_network_data_has_its_port_s(town: Any, clients: Any) -> None:
    """MAC and address of the port alone make the versions of Amazon whole."""
    town.describe(NAME, network_data={}, fixed_addresses=[])
    guest = town.guests[NAME]
    assert (200, f"{guest.mac}/") == clients.curl(NAME, MACS)
    path = f"/2021-03-23/meta-data/network/interfaces/macs/{guest.mac}/local-ipv4s"
    assert (200, guest.address) == clients.curl(NAME, path)


def test_a_404_ends_at_once_though_its_body_is_not_read(clients: Any) -> None:
    """Clients that look at the status alone close, or send their next request, or leave
    the connection as it is; of these the agent closes each before there are too many.
    """
    found = clients.python(NAME, "unread_body.py")
    assert [404] * 124 == found["status"]
    assert found["seconds"] < 2
