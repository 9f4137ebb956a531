"""JSON as operators write it ↔ Instance. Strict: unknown is refused, never defaulted.

Only `uuid` and `tenant_id` are required; `vagent.nova.members` says what each field
may be and what stands in for it. This module knows which fields there are, and refuses
to know where documents come from.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from vagent.errors import WireError
from vagent.nova import members
from vagent.nova.fields import Fields, shown
from vagent.nova.instance import Instance

MAX_DOCUMENT = 1024 * 1024 - 64 * 1024
"""Bytes of one document as compact ASCII JSON: 1 MiB, which is what the store and the
config API take, less room for the envelope around it."""
MAX_META = 128
"""Metadata items; Nova's default quota `metadata_items`."""
MAX_LIST = 256
"""Addresses, groups, devices or processors of one instance."""


def decode_instance(raw: Mapping[str, Any]) -> Instance:
    """The instance that a document describes. Raises WireError, naming the field."""
    if not isinstance(raw, Mapping):
        raise WireError(f"instance: got {shown(raw)}, allowed is an object")
    _check_size(raw)
    fields = Fields("instance", raw)
    uuid = members.uuid(fields)
    name = fields.text("name", f"vm-{uuid}")
    image_id = fields.text("image_id", "")
    instance = Instance(
        uuid=uuid,
        tenant_id=members.tenant(fields),
        name=name,
        hostname=members.hostname(fields, name, uuid),
        domain=members.domain(fields),
        ec2=members.ec2_names(fields, uuid, image_id),
        image_id=image_id,
        instance_type=fields.text("instance_type", "custom"),
        launch_index=members.launch_index(fields),
        availability_zone=fields.optional("availability_zone", "nova"),
        security_groups=fields.items(
            "security_groups", members.group, most=MAX_LIST, default=("default",)
        ),
        fixed_addresses=fields.items(
            "fixed_addresses", members.address, most=MAX_LIST, default=()
        ),
        floating_addresses=fields.items(
            "floating_addresses", members.address4, most=MAX_LIST, default=()
        ),
        block_devices=members.block_devices(fields),
        dedicated_cpus=fields.items(
            "dedicated_cpus", members.cpu, most=MAX_LIST, default=()
        ),
        public_keys=members.public_keys(fields),
        meta=fields.pairs("meta", most=MAX_META, longest=255),
        user_data=members.user_data(fields),
        network_config=fields.take("network_config", str, None),
        network_data=fields.take("network_data", dict, None),
        devices=fields.items("devices", members.device, most=MAX_LIST, default=()),
        vendor_data=members.vendor_data(fields),
        boot_roles=fields.items("boot_roles", members.role, most=MAX_LIST, default=()),
    )
    fields.finish()
    return instance


def check_instance(raw: dict[str, Any]) -> None:
    """Raises WireError when `raw` is not a document that this server can serve."""
    decode_instance(raw)


def encode_instance(instance: Instance) -> dict[str, Any]:
    """The document, every default written out; decodes to an equal instance."""
    document: dict[str, Any] = {
        "uuid": instance.uuid,
        "tenant_id": instance.tenant_id,
        "name": instance.name,
        "hostname": instance.hostname,
        "domain": instance.domain,
        "instance_type": instance.instance_type,
        "launch_index": instance.launch_index,
        "availability_zone": instance.availability_zone,
        "security_groups": list(instance.security_groups),
        "fixed_addresses": [str(address) for address in instance.fixed_addresses],
        "floating_addresses": [str(address) for address in instance.floating_addresses],
        "block_devices": dict(instance.block_devices),
        "dedicated_cpus": list(instance.dedicated_cpus),
        "public_keys": {key.name: key.data for key in instance.public_keys},
        "meta": dict(instance.meta),
        "devices": [dict(device) for device in instance.devices],
        "boot_roles": list(instance.boot_roles),
        "ec2_instance_id": instance.ec2.instance,
        "ami_id": instance.ec2.image,
        "kernel_id": instance.ec2.kernel,
        "ramdisk_id": instance.ec2.ramdisk,
        "reservation_id": instance.ec2.reservation,
    }
    if instance.image_id:
        document["image_id"] = instance.image_id
    if instance.user_data is not None:
        document["user_data_base64"] = base64.b64encode(instance.user_data).decode()
    if instance.vendor_data:
        document["vendor_data"] = dict(instance.vendor_data)
    if instance.network_config is not None:
        document["network_config"] = instance.network_config
    if instance.network_data is not None:
        document["network_data"] = dict(instance.network_data)
    return document


def _check_size(raw: Mapping[str, Any]) -> None:
    try:
        size = len(json.dumps(raw, allow_nan=False, separators=(",", ":")))
        json.dumps(raw, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError(
            f"instance: got no plain JSON ({type(error).__name__}), allowed are"
            " UTF-8 texts, finite numbers and moderate nesting"
        ) from None
    if size > MAX_DOCUMENT:
        raise WireError(f"instance: got {size} bytes, allowed are {MAX_DOCUMENT}")
