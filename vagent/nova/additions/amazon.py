"""What Amazon's metadata has and Nova's lacks, of one instance. Pure.

Amazon's clients (SDKs, cloud-init's Ec2 source, Ignition) ask for it in `latest`, or in
a version dated after Nova's last. Under `latest` it is served and not listed, because
that listing is Nova's; in its own versions it is listed beside all that Nova has.
These versions are served only where the interfaces are known: cloud-init takes the
newest version that it finds, and then needs them.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import islice

from vagent.nova import ec2
from vagent.nova.additions.interfaces import Addressed, NetworkInterface
from vagent.nova.ec2 import Node
from vagent.nova.instance import Instance
from vagent.nova.reply import NovaReply

VERSIONS = (
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
)
"""Amazon's, of which all leaves that clients need can be told. Not listed under `/`."""

MAX_TAGS = 50
"""Amazon's limit for one instance; cloud-init makes a request for each."""

_TAG = re.compile(r"[A-Za-z0-9+\-=.,_:@]{1,128}")
"""Keys of tags that Amazon shows here: one that is also a path."""
_ID_DIGITS = 17


class Identity(enum.Enum):
    """A document that has to be signed, by its name below `dynamic/instance-identity`.

    The first four are Amazon's and are listed. `token` is a JSON Web Token (RFC 7519),
    `keys` a JSON Web Key Set (RFC 7517), `certificates` the same keys as PEM.
    """

    DOCUMENT = "document"
    PKCS7 = "pkcs7"
    RSA2048 = "rsa2048"
    SIGNATURE = "signature"
    TOKEN = "token"  # noqa: S105 - the name of a document
    KEYS = "keys"
    CERTIFICATES = "certificates"


LISTED = (Identity.DOCUMENT, Identity.PKCS7, Identity.RSA2048, Identity.SIGNATURE)


def has_version(path: tuple[str, ...]) -> bool:
    """Does the path begin with a version that this tree has?"""
    return bool(path) and (path[0] == "latest" or path[0] in VERSIONS)


def lookup(
    instance: Instance,
    path: tuple[str, ...],
    address: str,
    interfaces: Sequence[NetworkInterface],
) -> NovaReply | Identity | None:
    """The document at `path` (below `/` or `/ec2`) that Nova does not have; None when
    there is none here either. `address` is as in `ec2.lookup`.
    """
    version, *names = path
    if version == "latest":
        version = VERSIONS[-1]
    elif version not in VERSIONS or not interfaces:
        return None
    if names[:1] == ["dynamic"]:
        return _dynamic(names[1:])
    if not names:
        found = ec2.tree(instance, ec2.VERSIONS[-1], address)
        return ec2.shown({**found, "dynamic": {}, "meta-data": {}})
    return ec2.find(tree(instance, version, address, interfaces), names)


def _dynamic(names: Sequence[str]) -> NovaReply | Identity | None:
    match names:
        case []:
            return ec2.shown({"instance-identity": {}})
        case ["instance-identity"]:
            return ec2.shown({one.value: "" for one in LISTED})
        case ["instance-identity", name] if name in {one.value for one in Identity}:
            return Identity(name)
        case _:
            return None


def tree(
    instance: Instance,
    version: str,
    address: str,
    interfaces: Sequence[NetworkInterface],
) -> dict[str, Node]:
    """All that a version of Amazon's has of an instance, but what is dynamic."""
    meta = ec2.meta_data(instance, ec2.VERSIONS[-1], address)
    zone, region = instance.availability_zone, instance.ec2.region
    placement: dict[str, Node] = {"availability-zone": zone}
    if version >= "2020-10-27":
        placement |= {"availability-zone-id": zone, "region": region}
    meta["placement"] = placement
    if version >= "2019-10-01":
        meta["instance-life-cycle"] = "on-demand"
    meta["services"] = {
        "domain": instance.ec2.services_domain,
        "partition": instance.ec2.partition,
    }
    if interfaces:
        macs: dict[str, Node] = {
            one.mac: _interface(instance, number, one)
            for number, one in enumerate(interfaces)
        }
        meta["mac"] = interfaces[0].mac
        meta["network"] = {"interfaces": {"macs": macs}}
    named = (item for item in instance.meta if _TAG.fullmatch(item[0]))
    tags: dict[str, Node] = dict(islice(named, MAX_TAGS))
    if tags and version >= "2021-03-23":
        meta["tags"] = {"instance": tags}
    return {**ec2.tree(instance, ec2.VERSIONS[-1], address), "meta-data": meta}


def _interface(
    instance: Instance, number: int, interface: NetworkInterface
) -> dict[str, Node]:
    hostname, tenant = instance.full_hostname, instance.tenant_id
    vpc = _id("vpc", tenant)
    nodes: dict[str, Node] = {
        "device-number": number,
        "interface-id": _id("eni", interface.id or interface.mac),
        "local-hostname": hostname,
        "mac": interface.mac,
        "owner-id": tenant,
        "security-group-ids": [_id("sg", tenant, g) for g in instance.security_groups],
        "security-groups": list(instance.security_groups),
        "subnet-id": _id("subnet", interface.network or tenant),
        "vpc-id": vpc,
    }
    blocks, blocks6 = _blocks(interface.ipv4), _blocks(interface.ipv6)
    if interface.ipv4:
        nodes["local-ipv4s"] = [str(one.ip) for one in interface.ipv4]
    if blocks:
        nodes["subnet-ipv4-cidr-block"] = blocks[0]
        nodes["vpc-ipv4-cidr-block"] = blocks[0]
        nodes["vpc-ipv4-cidr-blocks"] = list(blocks)
    if interface.ipv6:
        nodes["ipv6s"] = [str(one.ip) for one in interface.ipv6]
    if blocks6:
        nodes["subnet-ipv6-cidr-blocks"] = list(blocks6)
        nodes["vpc-ipv6-cidr-blocks"] = list(blocks6)
    if instance.floating_addresses and number == 0:
        nodes["public-hostname"] = hostname
        public = [str(one) for one in instance.floating_addresses]
        own = str(interface.ipv4[0].ip) if interface.ipv4 else ""
        nodes["public-ipv4s"] = list(public)
        nodes["ipv4-associations"] = dict.fromkeys(public, own)
    return nodes


def _blocks(addresses: Iterable[Addressed]) -> list[str]:
    """The networks of those addresses whose network is known."""
    known = [one.network for one in addresses if one.network.num_addresses > 1]
    return list(dict.fromkeys(str(network) for network in known))


def _id(kind: str, *of: str) -> str:
    """A name as Amazon has them, the same for the same things."""
    digest = hashlib.sha256("/".join(of).encode()).hexdigest()
    return f"{kind}-{digest[:_ID_DIGITS]}"
