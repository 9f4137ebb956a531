"""The two trees, where the recorded instances do not reach."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vagent.nova import ec2, openstack
from vagent.nova.codec import decode_instance
from vagent.nova.openstack import Elsewhere
from vagent.nova.reply import NovaReply

MINIMAL = {
    "uuid": "1a2b3c00-0000-4000-8000-000000000002",
    "tenant_id": "7e000000000040008000000000000001",
}


def ec2_text(path: str, address: str = "10.0.0.9", **fields: Any) -> str | None:
    instance = decode_instance({**MINIMAL, **fields})
    found = ec2.lookup(instance, tuple(path.split("/")), address)
    return None if found is None else found.content.decode()


def openstack_at(path: str, **fields: Any) -> NovaReply | Elsewhere | None:
    instance = decode_instance({**MINIMAL, **fields})
    names = tuple(path.split("/")) if path else ()
    return openstack.lookup(
        instance, names, entropy=bytes, vendor_data=lambda _: {"a": 1}
    )


def openstack_text(path: str, **fields: Any) -> str:
    found = openstack_at(path, **fields)
    assert isinstance(found, NovaReply)
    return found.content.decode()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("latest", "meta-data/"),
        ("latest/meta-data/ami-id", "None"),
        ("latest/meta-data/local-ipv4", "10.0.0.9"),
        ("latest/meta-data/public-ipv4", ""),
        ("latest/user-data", None),
        ("latest/meta-data/public-keys", None),
        ("latest/meta-data/kernel-id", None),
        ("latest/meta-data/hostname/x", None),
        ("latest/meta-data/security-groups/default", None),
        ("2021-03-23", None),
        ("latest/meta-data/placement/availability-zone", "nova"),
    ],
)
def test_ec2_of_a_guest_without_anything(path: str, text: str | None) -> None:
    """What is not there is not found, unset text is `None`, as Nova shows it."""
    assert text == ec2_text(path)


def crawl(listing: str, **fields: Any) -> list[str]:
    """Every leaf below a listing, found as cloud-init goes about it."""
    leaves = []
    text = ec2_text(listing, **fields)
    assert text is not None, listing
    for line in text.splitlines():
        index, equals, _ = line.partition("=")
        if line.endswith("/"):
            leaves += crawl(f"{listing}/{line[:-1]}", **fields)
        elif equals:
            leaves.append(f"{listing}/{index}/openssh-key")
        else:
            leaves.append(f"{listing}/{line}")
    return leaves


@pytest.mark.parametrize("version", [*ec2.VERSIONS, "latest"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"block_devices": {}},
        {
            "block_devices": {"ami": "vda", "ephemeral0": "/dev/vdb", "ebs-1.a_b": ""},
            "public_keys": {"a key/of=me": "ssh-rsa A", "b": "ssh-rsa B"},
            "security_groups": ["a/b", "c="],
            "kernel_id": "aki-1",
            "ramdisk_id": "ari-1",
            "floating_addresses": ["203.0.113.1"],
            "availability_zone": None,
        },
    ],
)
def test_ec2_whatever_is_listed_is_there(version: str, fields: dict[str, Any]) -> None:
    """One listed leaf that is not found costs cloud-init 5 s and the whole tree."""
    leaves = crawl(f"{version}/meta-data", **fields)
    assert f"{version}/meta-data/instance-id" in leaves
    for leaf in leaves:
        assert ec2_text(leaf, **fields) is not None, leaf
        assert ec2_text(f"{leaf}/x", **fields) is None, leaf


def test_ec2_unset_zone_and_address() -> None:
    """Null reads `None`, and so does an address that nobody knows."""
    zone = "latest/meta-data/placement/availability-zone"
    assert ec2_text(zone, availability_zone=None) == "None"
    assert ec2_text("latest/meta-data/local-ipv4", "") == "None"


def test_ec2_ipv6_only_shows_what_the_proxy_says() -> None:
    """Without a fixed IPv4 address the forwarded one stands in."""
    path = "latest/meta-data/local-ipv4"
    assert ec2_text(path, "2001:db8::5", fixed_addresses=["2001:db8::5"]) == (
        "2001:db8::5"
    )
    both = ["2001:db8::5", "10.0.0.5"]
    assert ec2_text(path, "1.2.3.4", fixed_addresses=both) == "10.0.0.5"


def test_ec2_empty_user_data_is_there() -> None:
    """Empty user data is listed and found; no user data is neither."""
    assert ec2_text("latest", user_data="") == "meta-data/\nuser-data"
    assert ec2_text("latest/user-data", user_data="") == ""


def test_ec2_several_keys() -> None:
    """More keys than Nova knows of are numbered on."""
    keys = {"a": "ssh-rsa A", "b": "ssh-rsa B"}
    listing = ec2_text("latest/meta-data/public-keys", public_keys=keys)
    assert listing == "0=a\n1=b"
    path = "latest/meta-data/public-keys/1/openssh-key"
    assert ec2_text(path, public_keys=keys) == "ssh-rsa B"


def test_every_listed_ec2_leaf_can_be_fetched() -> None:
    """A crawler that follows listings never meets a 404."""
    fields: dict[str, Any] = {
        "public_keys": ["ssh-rsa A"],
        "kernel_id": "aki-1",
        "user_data": "x",
        "block_devices": {"ami": "vda"},
    }

    def crawl(path: str) -> int:
        listing = ec2_text(path, **fields)
        assert listing is not None, path
        count = 1
        for name in listing.split("\n"):
            if name.endswith("/"):
                count += crawl(f"{path}/{name[:-1]}")
            elif "=" in name:
                count += crawl(f"{path}/{name.split('=')[0]}")
            else:
                assert ec2_text(f"{path}/{name}", **fields) is not None, name
                count += 1
        return count

    for version in (*ec2.VERSIONS, "latest"):
        assert crawl(version) > 8


def test_openstack_without_network_data() -> None:
    """Unknown networks are not found, rather than an empty truth that guests apply."""
    assert openstack_at("latest/network_data.json") is None
    assert "network_data.json" not in openstack_text("latest")
    assert openstack_text("latest/network_data.json", network_data={}) == "{}"
    assert openstack_text("2012-08-10/network_data.json", network_data={}) == "{}"


def test_every_listed_openstack_document_can_be_fetched() -> None:
    """Each name of each version's listing leads to something."""
    fields: dict[str, Any] = {"user_data": "x", "network_data": {}}
    for version in openstack_text("", **fields).split("\n"):
        for name in openstack_text(version, **fields).split("\n"):
            assert openstack_at(f"{version}/{name}", **fields) is not None


@pytest.mark.parametrize("configured", [True, False])
def test_openstack_files(configured: bool) -> None:
    """Files are numbered behind the network configuration, and come byte for byte."""
    fields: dict[str, Any] = {
        "files": [
            {"path": "/etc/a", "content_base64": "/wA="},
            {"path": "/b", "content": "b\n"},
        ]
    }
    if configured:
        fields["network_config"] = "auto lo"
    document = json.loads(openstack_text("latest/meta_data.json", **fields))
    first = 1 if configured else 0
    assert document["files"] == [
        {"path": "/etc/a", "content_path": f"/content/{first:04}"},
        {"path": "/b", "content_path": f"/content/{first + 1:04}"},
    ]
    after = "network_config" if configured else "hostname"
    assert ["uuid", "files", after] == list(document)[:3]
    found = openstack_at(f"content/{first:04}", **fields)
    assert isinstance(found, NovaReply)
    assert b"\xff\0" == found.content
    assert "b\n" == openstack_text(f"content/{first + 1:04}", **fields)
    for unknown in (f"content/{first + 2:04}", f"content/{first}", "content"):
        assert openstack_at(unknown, **fields) is None


def test_a_deleted_key_pair_is_in_the_ec2_tree_only() -> None:
    """Nova shows the instance's own copy there; meta_data.json has nothing of it."""
    keys = {"a": {"data": "ssh-rsa A\n", "deleted": True}}
    document = json.loads(openstack_text("latest/meta_data.json", public_keys=keys))
    assert not {"keys", "public_keys"} & set(document)
    path = "latest/meta-data/public-keys/0/openssh-key"
    assert "ssh-rsa A\n" == ec2_text(path, public_keys=keys)


def test_certificates_say_so() -> None:
    """The type of a key is in `keys`."""
    keys = {"a": {"data": "PEM", "type": "x509"}}
    document = json.loads(openstack_text("latest/meta_data.json", public_keys=keys))
    assert [{"name": "a", "type": "x509", "data": "PEM"}] == document["keys"]


def test_openstack_elsewhere() -> None:
    """The password and the second vendor data are left to the caller."""
    assert openstack_at("latest/password") is Elsewhere.PASSWORD
    assert openstack_at("2012-08-10/password") is None
    assert openstack_at("latest/vendor_data2.json") is Elsewhere.VENDOR_DATA2
    assert openstack_at("2016-06-30/vendor_data2.json") is None


def test_openstack_vendor_data() -> None:
    """vendor_data.json is the static vendor data."""
    assert openstack_text("latest/vendor_data.json") == '{"a": 1}'


def test_random_seed_is_fresh_entropy() -> None:
    """512 bytes are asked of the injected source for each document that has a seed."""
    instance = decode_instance(MINIMAL)
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return bytes([len(asked)]) * size

    seeds = []
    for version in ("latest", "latest", "2012-08-10"):
        path = (version, "meta_data.json")
        found = openstack.lookup(
            instance, path, entropy=entropy, vendor_data=lambda _: {}
        )
        assert isinstance(found, NovaReply)
        seeds.append(json.loads(found.content).get("random_seed"))
    assert asked == [512, 512]
    assert seeds[0] != seeds[1]
    assert seeds[2] is None


def test_openstack_minimal_meta_data() -> None:
    """A guest without keys and metadata has no members for them; null stays null."""
    text = openstack_text("latest/meta_data.json", availability_zone=None)
    document = json.loads(text)
    assert document["availability_zone"] is None
    assert not {"meta", "keys", "public_keys", "network_config"} & set(document)


@pytest.mark.parametrize(
    ("version", "shown"),
    [
        ("2016-06-30", ["tagged", "untagged tags", "disk"]),
        ("2016-10-06", ["tagged", "untagged tags", "disk"]),
        ("2017-02-22", ["tagged", "vlan", "untagged tags", "disk"]),
        ("2018-08-27", ["tagged", "vlan", "trusted", "untagged tags", "disk"]),
        ("2025-04-04", ["tagged", "vlan", "trusted", "untagged tags", "disk", "share"]),
    ],
)
def test_openstack_devices_that_a_version_shows(version: str, shown: list[str]) -> None:
    """An interface of which a version can say neither tag nor VLAN nor trust is not
    there at all.
    """
    devices = [
        {"vlan": 1, "vf_trusted": True, "type": "nic", "mac": "tagged", "tags": ["a"]},
        {"vlan": 1, "type": "nic", "mac": "vlan"},
        {"vf_trusted": False, "type": "nic", "mac": "trusted"},
        {"type": "nic", "mac": "untagged"},
        {"type": "nic", "mac": "untagged tags", "tags": []},
        {"type": "disk", "serial": "disk"},
        {"type": "share", "share_id": "share"},
    ]
    document = json.loads(openstack_text(f"{version}/meta_data.json", devices=devices))
    names = [
        one.get("mac") or one.get("serial") or one.get("share_id")
        for one in document["devices"]
    ]
    assert shown == names
    assert all("vlan" not in one for one in document["devices"]) == (version < "2017")
