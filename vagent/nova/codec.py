"""JSON as operators write it → Instance. Strict: an unknown field is an error.

Only `uuid` and `tenant_id` are required. This module lists the fields;
`vagent.nova.members` says what each may hold and what its default is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vagent.errors import WireError
from vagent.nova import members
from vagent.nova.fields import Fields, shown
from vagent.nova.instance import Instance
from vagent.nova.public_keys import public_keys

MAX_DOCUMENT = 1024 * 1024 - 64 * 1024
"""Bytes of one document as compact ASCII JSON: the 1 MiB that the store and the config
API take, less room for what they wrap around it."""
MAX_META = 16_384
"""Metadata items. Nova's quota `metadata_items` is 128 by default, and may be off."""
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
        availability_zone=members.availability_zone(fields),
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
        public_keys=public_keys(fields),
        meta=fields.pairs("meta", members.value, most=MAX_META),
        user_data=members.user_data(fields),
        network_config=fields.take("network_config", str, None),
        files=members.files(fields),
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
