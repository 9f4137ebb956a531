"""The EC2 tree of Nova: its versions, and what each shows of an instance. Pure.

A tree is a dict of dicts, lists, texts, numbers and bytes. Nova's rules
(nova/api/metadata/base.py): in a listing a directory ends with `/`, a node with `_name`
is listed under that name without the slash, a list has one item a line, and what is not
set reads `None`. A path below a leaf makes Nova fail; here it is not found.
"""

from __future__ import annotations

from collections.abc import Sequence

from vagent.nova.instance import Instance
from vagent.nova.reply import NovaReply, text_reply

VERSIONS = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
)

Node = dict[str, "Node"] | list[str] | str | bytes | int | None


def version_list() -> NovaReply:
    """The answer to `/`, which needs no headers, and to `/ec2`."""
    return text_reply("\n".join((*VERSIONS, "latest")))


def lookup(instance: Instance, path: tuple[str, ...], address: str) -> NovaReply | None:
    """The document at `path` (below `/` or `/ec2`); None when there is none.

    `address` is the guest's as the proxy gives it; as in Nova, it is shown where the
    instance has no fixed IPv4 address.
    """
    if not path:
        return version_list()
    version = VERSIONS[-1] if path[0] == "latest" else path[0]
    if version not in VERSIONS:
        return None
    return find(tree(instance, version, address), path[1:])


def find(node: Node, names: Sequence[str]) -> NovaReply | None:
    """What is in a tree below these names; None when there is nothing."""
    for name in names:
        if not isinstance(node, dict) or name not in node:
            return None
        node = node[name]
    return shown(node)


def shown(node: Node) -> NovaReply:
    """A leaf as text or bytes, a directory as a listing."""
    return text_reply(node if isinstance(node, bytes) else _print(node))


def tree(instance: Instance, version: str, address: str = "") -> dict[str, Node]:
    """All that a version (or `latest`) has of an instance."""
    version = VERSIONS[-1] if version == "latest" else version
    nodes: dict[str, Node] = {"meta-data": meta_data(instance, version, address)}
    if instance.user_data is not None:
        nodes["user-data"] = instance.user_data
    return nodes


def meta_data(instance: Instance, version: str, address: str) -> dict[str, Node]:
    """What is below `meta-data` in one of `VERSIONS`."""
    hostname = instance.full_hostname
    meta: dict[str, Node] = {
        "ami-id": instance.ec2.image,
        "ami-launch-index": instance.launch_index,
        "ami-manifest-path": "FIXME",
        "instance-id": instance.ec2.instance,
        "hostname": hostname,
        "local-ipv4": str(instance.fixed_ipv4 or address or None),
        "reservation-id": instance.ec2.reservation,
        "security-groups": list(instance.security_groups),
    }
    if instance.public_keys:
        meta["public-keys"] = _public_keys(instance)
    if version >= "2007-01-19":
        meta["local-hostname"] = meta["public-hostname"] = hostname
        floating = instance.floating_addresses
        meta["public-ipv4"] = str(floating[0]) if floating else ""
    if version >= "2007-08-29":
        meta["instance-type"] = instance.instance_type
    if version >= "2007-12-15":
        meta["block-device-mapping"] = dict(instance.block_devices)
        if instance.ec2.kernel is not None:
            meta["kernel-id"] = instance.ec2.kernel
        if instance.ec2.ramdisk is not None:
            meta["ramdisk-id"] = instance.ec2.ramdisk
    if version >= "2008-02-01":
        meta["placement"] = {"availability-zone": instance.availability_zone}
    if version >= "2008-09-01":
        meta["instance-action"] = "none"
    return meta


def _public_keys(instance: Instance) -> Node:
    return {
        str(index): {"_name": f"{index}={key.name}", "openssh-key": key.data}
        for index, key in enumerate(instance.public_keys)
    }


def _print(node: Node) -> str:
    if isinstance(node, dict):
        return "\n".join(
            _listed(name, node[name]) for name in sorted(node) if name != "_name"
        )
    if isinstance(node, list):
        return "\n".join(node)
    return str(node)


def _listed(name: str, node: Node) -> str:
    if not isinstance(node, dict):
        return name
    return str(node["_name"]) if "_name" in node else f"{name}/"
