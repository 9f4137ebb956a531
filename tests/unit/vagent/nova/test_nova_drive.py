"""The files of a config drive are what the metadata server answers."""

from __future__ import annotations

import json
from typing import Any

from vagent.nova import openstack
from vagent.nova.codec import decode_instance
from vagent.nova.drive import drive_files
from vagent.nova.reply import NovaReply

SMALL = {
    "uuid": "1a2b3c00-0000-4000-8000-000000000003",
    "tenant_id": "7e000000000040008000000000000001",
}
FULL = SMALL | {
    "user_data_base64": "AAEC/w==",
    "network_data": {"links": []},
    "network_config": "auto lo\n",
    "files": [{"path": "/a", "content_base64": "/w=="}],
    "public_keys": {"k": "ssh-ed25519 AAAA"},
    "fixed_addresses": ["10.0.0.5"],
}
VENDOR_DATA2 = {"static": {"a": 1}, "join": {"ipaotp": "x"}}
VERSIONS = (*openstack.VERSIONS, "latest")


def files(document: dict[str, Any]) -> dict[str, bytes]:
    return drive_files(
        decode_instance(document), vendor_data2=VENDOR_DATA2, entropy=bytes
    )


def test_which_files_there_are() -> None:
    """As Nova's: two versions of EC2, all of openstack, no password."""
    assert {
        *(f"ec2/{version}/meta-data.json" for version in ("2009-04-04", "latest")),
        *(f"ec2/{version}/user-data" for version in ("2009-04-04", "latest")),
        *(f"openstack/{version}/meta_data.json" for version in VERSIONS),
        *(f"openstack/{version}/user_data" for version in VERSIONS),
        *(f"openstack/{one}/vendor_data.json" for one in VERSIONS if one >= "2013-10"),
        *(f"openstack/{one}/network_data.json" for one in VERSIONS if one >= "2015"),
        *(f"openstack/{one}/vendor_data2.json" for one in VERSIONS if one >= "2016-10"),
        *("openstack/content/0000", "openstack/content/0001"),
    } == set(files(FULL))


def test_what_is_not_known_is_no_file() -> None:
    """Neither user data nor a network, nor an injected file."""
    names = {path.rpartition("/")[2] for path in files(SMALL)}
    assert {
        *("meta-data.json", "meta_data.json"),
        *("vendor_data.json", "vendor_data2.json"),
    } == names


def test_bytes_are_those_of_the_server() -> None:
    """Every document of openstack, binary user data included."""
    instance, found = decode_instance(FULL), files(FULL)
    for path, content in found.items():
        tree, *names = path.split("/")
        if tree != "openstack" or names[-1] == "vendor_data2.json":
            continue
        reply = openstack.lookup(
            instance, tuple(names), entropy=bytes, vendor_data=lambda _: {"a": 1}
        )
        assert isinstance(reply, NovaReply)
        assert reply.content == content, path
    assert b"\0\1\2\xff" == found["ec2/latest/user-data"]
    document = json.loads(found["openstack/latest/vendor_data2.json"])
    assert VENDOR_DATA2 == document


def test_the_ec2_document() -> None:
    """One JSON object; unset values are null, as in Nova."""
    document = json.loads(files(FULL)["ec2/latest/meta-data.json"])
    assert "10.0.0.5" == document["local-ipv4"]
    assert None is document["ami-id"]
    keys = {"0": {"_name": "0=k", "openssh-key": "ssh-ed25519 AAAA"}}
    assert keys == document["public-keys"]
