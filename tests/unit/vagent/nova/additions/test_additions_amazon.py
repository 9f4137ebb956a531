"""Amazon's tree beside Nova's: what is in it, and where Nova's stays as it is."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.unit.vagent.nova.additions.test_additions_interfaces import (
    ONE,
    TWO,
    instance,
    network_data,
    port,
)
from vagent.nova import ec2
from vagent.nova.additions import amazon
from vagent.nova.additions.amazon import Identity
from vagent.nova.additions.interfaces import interfaces_of
from vagent.nova.reply import NovaReply

MACS = "meta-data/network/interfaces/macs"
FULL: dict[str, Any] = {
    "hostname": "web",
    "region": "eu-west-1",
    "fixed_addresses": ["10.0.0.5"],
    "floating_addresses": ["203.0.113.5"],
    "security_groups": ["default", "web"],
    "network_data": network_data(
        {"link": "l1", "ip_address": "10.0.0.5", "netmask": "255.255.255.0"},
        {"link": "l1", "ip_address": "2001:db8::5/64"},
    ),
    "meta": {"Role": "web", "with space": "no", "a/b": "no", "a:b": "yes"},
    "user_data": "#!/bin/sh\n",
}


def found(path: str, *ports: Any, **fields: Any) -> Any:
    """Text, `Identity`, or None."""
    known = instance(**fields)
    interfaces = interfaces_of(known, ports)
    reply = amazon.lookup(known, tuple(path.split("/")), "192.0.2.1", interfaces)
    return reply.content.decode() if isinstance(reply, NovaReply) else reply


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("meta-data/mac", ONE),
        ("meta-data/placement/region", "eu-west-1"),
        ("meta-data/placement/availability-zone-id", "eu-west-1a"),
        ("meta-data/instance-life-cycle", "on-demand"),
        (f"{MACS}/{ONE}/ipv4-associations", "203.0.113.5"),
        (f"{MACS}/{ONE}/ipv4-associations/203.0.113.5", "10.0.0.5"),
        ("meta-data/services", "domain\npartition"),
        ("meta-data/services/domain", "novalocal"),
        ("meta-data/services/partition", "aws"),
        ("meta-data/tags", "instance/"),
        ("meta-data/tags/instance", "Role\na:b"),
        ("meta-data/tags/instance/Role", "web"),
        ("meta-data/network", "interfaces/"),
        (MACS, f"{ONE}/"),
        (f"{MACS}/{ONE}/device-number", "0"),
        (f"{MACS}/{ONE}/ipv6s", "2001:db8::5"),
        (f"{MACS}/{ONE}/local-hostname", "web.novalocal"),
        (f"{MACS}/{ONE}/local-ipv4s", "10.0.0.5"),
        (f"{MACS}/{ONE}/mac", ONE),
        (f"{MACS}/{ONE}/owner-id", "7e000000000040008000000000000001"),
        (f"{MACS}/{ONE}/public-ipv4s", "203.0.113.5"),
        (f"{MACS}/{ONE}/security-groups", "default\nweb"),
        (f"{MACS}/{ONE}/subnet-ipv4-cidr-block", "10.0.0.0/24"),
        (f"{MACS}/{ONE}/subnet-ipv6-cidr-blocks", "2001:db8::/64"),
        (f"{MACS}/{ONE}/vpc-ipv4-cidr-block", "10.0.0.0/24"),
        (f"{MACS}/{ONE}/vpc-ipv4-cidr-blocks", "10.0.0.0/24"),
        ("dynamic", "instance-identity/"),
        ("dynamic/instance-identity", "document\npkcs7\nrsa2048\nsignature"),
    ],
)
def test_what_clients_ask_for_is_there(path: str, text: str) -> None:
    """Under `latest`, and the same in Amazon's last version."""
    assert text == found(f"latest/{path}", **FULL)
    assert text == found(f"2021-03-23/{path}", **FULL)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("interface-id", "eni"), ("subnet-id", "subnet"), ("vpc-id", "vpc")],
)
def test_names_of_amazon_s_form_stay_the_same(name: str, kind: str) -> None:
    """They are made of what they name, with 17 hex digits."""
    text = found(f"latest/{MACS}/{ONE}/{name}", **FULL)
    prefix, _, digits = text.partition("-")
    assert (kind, 17) == (prefix, len(digits))
    assert int(digits, 16)
    assert text == found(f"latest/{MACS}/{ONE}/{name}", **FULL)


def test_groups_and_their_ids_go_together() -> None:
    """One id for each group, in their order."""
    ids = found(f"latest/{MACS}/{ONE}/security-group-ids", **FULL).split("\n")
    assert 2 == len({one for one in ids if one.startswith("sg-")})


def test_the_second_interface() -> None:
    """It has its number, no floating address, and no network unless it is known."""
    ports = (port(), port(TWO, address=IPv4Address("10.1.0.5")))
    fields = {**FULL, "network_data": {}}
    assert "1" == found(f"latest/{MACS}/{TWO}/device-number", *ports, **fields)
    assert "10.1.0.5" == found(f"latest/{MACS}/{TWO}/local-ipv4s", *ports, **fields)
    for name in ("public-ipv4s", "subnet-ipv4-cidr-block", "ipv6s"):
        assert found(f"latest/{MACS}/{TWO}/{name}", *ports, **fields) is None
    assert f"{ONE}/\n{TWO}/" == found(f"latest/{MACS}", *ports, **fields)


@pytest.mark.parametrize("version", amazon.VERSIONS)
def test_a_version_is_whole(version: str) -> None:
    """All that Nova's last version has is in it; each name that is listed is there."""
    last = ec2.tree(instance(**FULL), ec2.VERSIONS[-1], "192.0.2.1")
    known = instance(**FULL)
    tree = amazon.tree(known, version, "192.0.2.1", interfaces_of(known, ()))
    meta, before = tree["meta-data"], last["meta-data"]
    assert isinstance(meta, dict)
    assert isinstance(before, dict)
    assert set(before) <= set(meta)
    assert {"mac", "network", "services", "placement"} <= set(meta)
    assert "dynamic/\nmeta-data/\nuser-data" == found(version, **FULL)
    assert "#!/bin/sh\n" == found(f"{version}/user-data", **FULL)
    listed = found(f"{version}/meta-data", **FULL).split("\n")
    for name in listed:
        assert found(f"{version}/meta-data/{name.rstrip('/')}", **FULL) is not None
    assert (version >= "2020-10-27") == (
        found(f"{version}/meta-data/placement/region", **FULL) is not None
    )
    assert (version >= "2021-03-23") == ("tags/" in listed)


def test_a_version_without_known_interfaces_is_not_there() -> None:
    """cloud-init would take it, and find no network; `latest` has what is known."""
    assert found("2021-03-23") is None
    assert found("2021-03-23/meta-data/instance-id") is None
    assert found("2021-03-23/meta-data/instance-id", port()) is not None
    assert "nova" == found("latest/meta-data/placement/region")
    assert found("latest/meta-data/mac") is None


@pytest.mark.parametrize(
    "path",
    [
        "2009-04-04/meta-data/mac",
        "2009-04-04/dynamic",
        "2022-09-24/meta-data/mac",
        "latest/meta-data/iam",
        "latest/meta-data/iam/security-credentials",
        "latest/meta-data/mac/x",
        "latest/meta-data/tags/instance/a/b",
        "latest/dynamic/instance-identity/private",
        "latest/dynamic/instance-identity/document/x",
        "latest/dynamic/fws",
        "latest/api/token",
    ],
)
def test_what_is_not_there(path: str) -> None:
    """Nova's own versions stay Nova's, roles are not given, leaves hold nothing."""
    assert found(path, **FULL) is None


def test_tags_are_bounded() -> None:
    """The first that may be tags; each costs a guest that boots a request."""
    meta = {f"not a tag {n}": "" for n in range(99)} | {f"t{n}": "" for n in range(99)}
    listed = found("latest/meta-data/tags/instance", meta=meta).split("\n")
    assert {f"t{n}" for n in range(amazon.MAX_TAGS)} == set(listed)


def test_no_tags_no_directory() -> None:
    """As Amazon's, where tags are not shown."""
    assert found("latest/meta-data/tags", meta={"a b": "c"}) is None


@pytest.mark.parametrize("wanted", Identity)
def test_identity_documents_are_made_elsewhere(wanted: Identity) -> None:
    """They have to be signed."""
    path = f"latest/dynamic/instance-identity/{wanted.value}"
    assert wanted is found(path, **FULL)
