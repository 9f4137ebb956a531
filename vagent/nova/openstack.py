"""The openstack tree of Nova: its versions, and what each shows of an instance. Pure.

Two documents cannot be made here: the password is in a store, and for
vendor_data2.json other servers may have to be asked. For these `lookup` returns which
one it is (`Elsewhere`), and the caller makes it. Source: nova/api/metadata/base.py; the
keys and their order are Nova's.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from vagent.nova.instance import Instance
from vagent.nova.reply import NovaReply, SeededReply, json_reply, text_reply

VERSIONS = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "2025-04-04",
)

RANDOM_SEED_BYTES = 512
_OF_USE = frozenset(("tags", "vlan", "vf_trusted"))
"""Nova shows an interface only if it can say at least one of these of it."""

Entropy = Callable[[int], bytes]
"""Gives so many random bytes."""


class Elsewhere(enum.Enum):
    """A document that the caller of `lookup` has to make."""

    PASSWORD = "password"  # noqa: S105 - the name of a document
    VENDOR_DATA2 = "vendor_data2.json"


def lookup(
    instance: Instance,
    path: tuple[str, ...],
    *,
    entropy: Entropy,
    vendor_data: Callable[[Instance], Mapping[str, Any]],
) -> NovaReply | Elsewhere | None:
    """The document at `path` (below `/openstack`); None when there is none.

    `vendor_data` gives the static vendor data of an instance.
    """
    if not path:
        return text_reply("\n".join((*VERSIONS, "latest")))
    if path[0] == "content":
        return _content(instance, path[1:])
    version = VERSIONS[-1] if path[0] == "latest" else path[0]
    name = "/".join(path[1:])
    if version not in VERSIONS:
        return None
    if name in ("", "version"):
        return text_reply("\n".join(_listing(instance, version)))
    if name == "meta_data.json":
        return _meta_data_json(instance, version, entropy)
    return _document(instance, version, name, vendor_data)


def _document(
    instance: Instance,
    version: str,
    name: str,
    vendor_data: Callable[[Instance], Mapping[str, Any]],
) -> NovaReply | Elsewhere | None:
    match name:
        case "network_data.json" if instance.network_data is not None:
            return text_reply(json.dumps(dict(instance.network_data)))
        case "user_data" if instance.user_data is not None:
            return text_reply(instance.user_data)
        case "password" if version >= "2013-04-04":
            return Elsewhere.PASSWORD
        case "vendor_data.json" if version >= "2013-10-17":
            return json_reply(dict(vendor_data(instance)))
        case "vendor_data2.json" if version >= "2016-10-06":
            return Elsewhere.VENDOR_DATA2
        case _:
            return None


def _content(instance: Instance, path: tuple[str, ...]) -> NovaReply | None:
    for number, content in enumerate(instance.contents):
        if path == (content_name(number),):
            return text_reply(content)
    return None


def content_name(number: int) -> str:
    """The name below `/openstack/content/` of one of an instance's `contents`."""
    return f"{number:04}"


def _listing(instance: Instance, version: str) -> list[str]:
    listing = ["meta_data.json"]
    if instance.user_data is not None:
        listing.append("user_data")
    if version >= "2013-04-04":
        listing.append("password")
    if version >= "2013-10-17":
        listing.append("vendor_data.json")
    if version >= "2015-10-15" and instance.network_data is not None:
        listing.append("network_data.json")
    if version >= "2016-10-06":
        listing.append("vendor_data2.json")
    return listing


def render_ahead(instance: Instance) -> None:
    """Render the document that guests ask for most often."""
    _rendered(instance, VERSIONS[-1])


def _rendered(instance: Instance, version: str) -> NovaReply | SeededReply:
    """Its meta_data.json, rendered once."""
    rendered = instance.rendered.get(version)
    if rendered is None:
        place = uuid4().hex
        document = _meta_data(instance, version, seed=place)
        rendered = instance.rendered[version] = (
            SeededReply.of(document, place)
            if "random_seed" in document
            else json_reply(document)
        )
    return rendered


def _meta_data_json(instance: Instance, version: str, entropy: Entropy) -> NovaReply:
    rendered = _rendered(instance, version)
    if isinstance(rendered, NovaReply):
        return rendered
    return rendered.with_seed(entropy(RANDOM_SEED_BYTES))


def _meta_data(instance: Instance, version: str, *, seed: str) -> dict[str, Any]:
    document: dict[str, Any] = {"uuid": instance.uuid}
    if instance.meta:
        document["meta"] = dict(instance.meta)
    if instance.files:
        document["files"] = _files(instance)
    if instance.network_config is not None:
        document["network_config"] = {
            "name": "network_config",
            "content_path": "/content/0000",
        }
    keys = [key for key in instance.public_keys if not key.deleted]
    if keys:
        document["public_keys"] = {key.name: key.data for key in keys}
        document["keys"] = [
            {"name": key.name, "type": key.type, "data": key.data} for key in keys
        ]
    document["hostname"] = instance.full_hostname
    document["name"] = instance.name
    document["launch_index"] = instance.launch_index
    document["availability_zone"] = instance.availability_zone
    if version >= "2013-04-04":
        document["random_seed"] = seed
    if version >= "2015-10-15":
        document["project_id"] = instance.tenant_id
    if version >= "2016-06-30":
        document["devices"] = _devices(instance, version)
    if version >= "2020-10-14":
        document["dedicated_cpus"] = list(instance.dedicated_cpus)
    return document


def _files(instance: Instance) -> list[dict[str, str]]:
    first = len(instance.contents) - len(instance.files)
    return [
        {"path": file.path, "content_path": f"/content/{content_name(number)}"}
        for number, file in enumerate(instance.files, first)
    ]


def _devices(instance: Instance, version: str) -> list[dict[str, Any]]:
    hidden = {
        name
        for name, since in (("vlan", "2017-02-22"), ("vf_trusted", "2018-08-27"))
        if version < since
    }
    shown = (
        {name: value for name, value in device.items() if name not in hidden}
        for device in instance.devices
        if device.get("type") != "share" or version >= "2025-04-04"
    )
    return [one for one in shown if one.get("type") != "nic" or one.keys() & _OF_USE]
