"""The files of an instance's config drive: the documents of both trees. Pure.

Paths and content are those of Nova's own config drives (`metadata_for_config_drive` in
nova/api/metadata/base.py, with its default `config_drive_skip_versions`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vagent.nova import ec2, openstack
from vagent.nova.instance import Instance
from vagent.nova.openstack import Elsewhere, Entropy
from vagent.nova.reply import NovaReply

EC2_VERSIONS = (ec2.VERSIONS[-1], "latest")
"""Nova leaves out the older ones."""


def drive_files(
    instance: Instance, *, vendor_data2: Mapping[str, Any], entropy: Entropy
) -> dict[str, bytes]:
    """Path → content, byte for byte what the metadata server answers, but for the
    random seed. `vendor_data2` is that document, `static` included.
    """
    files: dict[str, bytes] = {}
    for version in EC2_VERSIONS:
        tree = ec2.tree(instance, version)
        if instance.user_data is not None:
            files[f"ec2/{version}/user-data"] = instance.user_data
        files[f"ec2/{version}/meta-data.json"] = json.dumps(tree["meta-data"]).encode()
    for version in (*openstack.VERSIONS, "latest"):
        files |= _openstack(instance, version, vendor_data2, entropy)
    for number, content in enumerate(instance.contents):
        files[f"openstack/content/{openstack.content_name(number)}"] = content
    return files


def _openstack(
    instance: Instance,
    version: str,
    vendor_data2: Mapping[str, Any],
    entropy: Entropy,
) -> dict[str, bytes]:
    """The documents that this version lists, but the password."""

    def look(*names: str) -> NovaReply | Elsewhere | None:
        return openstack.lookup(
            instance,
            (version, *names),
            entropy=entropy,
            vendor_data=lambda _: vendor_data2["static"],
        )

    listing = look()
    names = (
        listing.content.decode().split("\n") if isinstance(listing, NovaReply) else []
    )
    files: dict[str, bytes] = {}
    for name in names:
        found = look(name)
        if isinstance(found, NovaReply):
            files[f"openstack/{version}/{name}"] = found.content
        elif found is Elsewhere.VENDOR_DATA2:
            document = json.dumps(dict(vendor_data2)).encode()
            files[f"openstack/{version}/{name}"] = document
    return files
