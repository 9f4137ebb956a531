"""The seed of cloud-init's NoCloud source over HTTP, of one instance. Pure.

For guests that are started with `ds=nocloud;s=http://169.254.169.254/nocloud/`, as on
libvirt without OpenStack. Source: cloud-init's DataSourceNoCloud and `read_seeded`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from vagent.nova.additions.network_config import network_config
from vagent.nova.instance import Instance
from vagent.nova.reply import NovaReply, text_reply

NAMES = ("meta-data", "network-config", "user-data", "vendor-data")

_NOT_PLAIN = re.compile(r"[^\n -~]")


def lookup(
    instance: Instance,
    path: tuple[str, ...],
    vendor_data: Callable[[Instance], Mapping[str, Any]],
) -> NovaReply | None:
    """The document at `path` (below `/nocloud`); None when there is none.

    `vendor_data` gives the static vendor data of an instance. User data are empty where
    there are none: without that file cloud-init takes no other either.
    """
    match path:
        case ():
            return text_reply("\n".join(NAMES))
        case ("meta-data",):
            return text_reply(as_yaml(_meta_data(instance)))
        case ("user-data",):
            return text_reply(instance.user_data or b"")
        case ("vendor-data",):
            return _vendor_data(vendor_data(instance).get("cloud-init"))
        case ("network-config",) if instance.network_data is not None:
            return text_reply(as_yaml(network_config(instance.network_data)))
        case _:
            return None


def as_yaml(value: object) -> str:
    """JSON that YAML reads the same: its parsers take no pairs of surrogates for a
    character, and refuse some that JSON allows unescaped (DEL, say).
    """
    return _NOT_PLAIN.sub(_escaped, json.dumps(value, indent=1, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _meta_data(instance: Instance) -> dict[str, Any]:
    return {
        "instance-id": instance.uuid,
        "local-hostname": instance.full_hostname,
        "name": instance.name,
        "public-keys": [key.data for key in instance.public_keys if key.type == "ssh"],
        "availability-zone": instance.availability_zone,
        "region": instance.ec2.region,
        "meta": dict(instance.meta),
    }


def _vendor_data(content: object) -> NovaReply | None:
    """What the OpenStack source makes of the member `cloud-init`: a text is taken as it
    is, a list is several.
    """
    if isinstance(content, str):
        return text_reply(content)
    if isinstance(content, list):
        return text_reply("#cloud-config-archive\n" + as_yaml(content))
    return None
